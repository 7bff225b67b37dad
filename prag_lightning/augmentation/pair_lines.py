"""Parsing question-answer pairs from labelled lines of a language model's answer."""

import re
from itertools import zip_longest

# Examples of labels: **Q1:**, 2. Question:, - Q., Question 3 -
_BEFORE = r"^[ \t>*_#-]*(?:\(?\d{1,3}[.):][ \t*_]*)?"
# A full stop is allowed only after a number, since "A. Paris" is one of several choices.
_AFTER = r"(?:[ \t]*#?\d{1,3}[ \t*_]*[:.)\u2013\u2014-]|[ \t*_]*:)[ \t*_]*"
_LABEL = re.compile(
    rf"{_BEFORE}(?:(?P<question>Question|Q)|(?P<full_answer>Full[ _]answer)|(?P<answer>Answer|A))"
    rf"{_AFTER}",
    re.IGNORECASE | re.MULTILINE,
)
# "Q: Who? A: Ada" on one line.
_ANSWER_WITHIN = re.compile(r"(?<=\?)[ \t*_]+(?=(?:Answer|A)[ \t]*:)")
# An unlabelled question on a line of its own.
_QUESTION_LINE = re.compile(rf"{_BEFORE}(?P<text>[^\n]*\?)[ \t*_]*\Z", re.MULTILINE)


def find_lines(answer: str) -> list[dict[str, object]]:
    r"""Return the fields that were found for each pair.

    >>> find_lines("Q: Who?\nA: Ada\n\n**Question 2:** When?\n**Answer:** 1815")
    [{'question': 'Who?', 'answer': 'Ada'}, {'question': 'When?', 'answer': '1815'}]
    """
    answer = _ANSWER_WITHIN.sub("\n", answer)
    labels = list(_LABEL.finditer(answer))
    pairs: list[dict[str, object]] = []
    start = 0
    for label, following in zip_longest(labels, labels[1:]):
        unlabelled = _QUESTION_LINE.search(answer[start : label.start()].rstrip())
        if label["answer"] and unlabelled and (not pairs or "answer" in pairs[-1]):
            pairs.append({"question": unlabelled["text"].strip("*_ ")})
        text = answer[label.end() : following.start() if following else None]
        start = label.end()
        field = str(label.lastgroup)
        if field == "question":
            pairs.append({"question": _first_line(text)})
        elif pairs and field not in pairs[-1]:
            pairs[-1][field] = _first_line(text)
    return pairs


def _first_line(text: str) -> str:
    return text.strip().split("\n", 1)[0].strip("*_ \t") if text.strip() else ""
