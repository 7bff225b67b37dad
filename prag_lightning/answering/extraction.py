"""The part of a generated text that is scored as its answer: where it begins, and where it ends."""

import re

from prag_lightning.answering.answer_words import (
    CLOSING,
    LETTERED,
    MONARCHS,
    SMALL_WORDS,
    WITH_STOP,
)
from prag_lightning.documents.sentences import split_sentences

ANSWER_MARK = "the answer is"

# A model may go on with a question of its own, like the examples in its prompt.
_NEXT_QUESTION = re.compile(r"(?im:^[ \t]*(?:question|q)[ \t]*:)|(?<!\w)Question:")
# What precedes an answer without being part of it: ": Paris", "**Paris**", but not "-5" or ".NET".
_LEAD = re.compile(r"(?:\s|[:\uff1a*#`]|[.,;!?\-\u2013\u2014]+(?=\s+\S))*")
_FOOTNOTES = re.compile(r"(?<=\S)(?:\[\d{1,3}\])+$")
_STOPS = " .。\uff0e｡।॥\u06d4។"
_WRAPS = [("\u201c", "\u201d"), ("「", "」"), ("『", "』"), ("«", "»"), *((c, c) for c in '*`"')]

# Words that begin a sentence far more often than they stand within a name.
_OPENER = re.compile(
    r"(?:after|although|an|and|as|at|because|but|during|for|he|her|his|however|if|in|its?|on|she|"
    r"since|so|that|the|their|there|these|they|this|those|thus|we|when|while|you)\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W\d_][\w'\u2019]*")
_WIDE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")

_DOTTED = re.compile(r"[^\W\d_]{1,2}(?:\.[^\W\d_]{1,2})+")
_FIRST_NAME = re.compile(r"\b(?:Benj|Chas|Edw|Geo|Jas|Jos|Robt|Thos|Wm)\.$")
_STOP = re.compile(r"(?P<word>\S+?)\.+[\"')\]\u2019\u201d]*\s+(?=\S)")

_YES_OR_NO = re.compile(
    r"(?P<word>yes|no)(?:(?:\s*[,;:.!\u2013\u2014]+\s*|\s+-+\s+)(?=[^\W\d])"
    r"|\s+(?=(?:because|both|he|it|neither|she|since|that|there|they|this|we)\b))"
    r"|(?P<wide>是的?|不是?|否|对|はい|いいえ)[\uff0c\u3001,]",
    re.IGNORECASE,
)
# A further clause about an answer is not part of it.
_ADDITION = re.compile(
    r",\s+(?=(?:although|because|though|which|who|whom|whose)\s)"
    r"|;\s+(?=[a-z])"
    r"|[\uff0c\u3001,](?=它|他|她|这|那|该|其|因为|因此|但|所以|位于)"
)
# Only after a name: "when it rains, it pours" and "a knife, a gun and a rope" stay whole.
_ADDITION_TO_NAME = re.compile(
    r",\s+(?=(?:\d+(?:st|nd|rd|th)|an?|also|as|based|born|but|directed|formerly|founded|he|in|it|"
    r"known|located|near|not|now|one\s+of|published|released|she|since|situated|so|that|the|they|"
    r"this|when|where|while|written|and\s+(?:he|it|she|they))\s)(?!(?:an?|the)\s+[A-Z])"
    r"|(?:\s+-+\s+|\s*[\u2013\u2014]\s*)(?=[a-z])"
)


def extract_published(text: str, answer_mark: str | None = None) -> str:
    """Return what the published evaluation scores (oneal2000/PRAG at e03742e).

    The text up to the first full stop, newline or comma.

    Args:
        text: What the model generated, without the prompt.
        answer_mark: The words that introduce the answer if the text is a chain of thought; their
            first occurrence counts, in the same case.
    """
    if answer_mark and answer_mark in text:
        text = text.split(answer_mark, 1)[1]
    text = text.strip()
    for stop in (".", "\n", ","):
        text = text.split(stop, 1)[0]
    return text.strip()


def extract_strict(text: str, answer_mark: str | None = None) -> str:
    r"""Return the answer without what is said about it.

    This is the first line up to where its first statement must have ended, so that ``15,140``,
    ``Washington, D.C.`` and ``J. K. Rowling`` stay whole and ``No, they were not.`` is ``No``. Text
    after another ``Question:`` is ignored.

    Args:
        text: What the model generated, without the prompt.
        answer_mark: The words that introduce the answer if the text is a chain of thought; their
            last occurrence counts, on any line and in any case.

    >>> extract_strict("World War I. Germany lost.")
    'World War I'
    >>> extract_strict("Step 1: Italy.\n\nSo the answer is: Rome.", "the answer is")
    'Rome'
    """
    text = text.strip()
    if next_question := _NEXT_QUESTION.search(text, 1):
        text = text[: next_question.start()]
    if answer_mark:
        text = _conclusion(text, answer_mark)
    lines = text[_end_of_lead(text) :].splitlines()
    return _unwrapped(_first_statement(lines[0])) if lines else ""


def _conclusion(text: str, answer_mark: str) -> str:
    """Return the text after the last mark that has text after it; without a mark, all of it."""
    mark = r"\s+".join(map(re.escape, answer_mark.split()))
    # "the answer isn't Rome" is no conclusion; "答案是罗马" is one.
    boundary = r"(?!\w)" if answer_mark[-1:].isascii() else ""
    stop = len(text)
    for match in reversed([*re.finditer(mark + boundary, text, re.IGNORECASE)]):
        said = text[match.end() : stop]
        if _end_of_lead(said) < len(said):
            return text[match.end() :]
        stop = match.start()
    return text


def _end_of_lead(text: str) -> int:
    lead = _LEAD.match(text)
    assert lead is not None
    return lead.end()


def _unwrapped(answer: str) -> str:
    """Return the answer without its sentence's full stop, footnote marks and quotation marks."""
    before = None
    while before != answer:
        before = answer
        answer = _FOOTNOTES.sub("", answer.strip()).rstrip("*`,;:\uff0c\u3001\uff1b\uff1a")
        if not _keeps_stop(answer):
            answer = answer.rstrip(_STOPS)
        for opening, closing in _WRAPS:
            if answer[:1] == opening and answer.find(closing, 1) == len(answer) - 1 > 0:
                answer = answer[1:-1]
        if answer.count('"') == 1:
            answer = answer.strip('"')
    return answer


def _first_statement(line: str) -> str:
    """Return a line up to where its first statement must have ended.

    Args:
        line: One line that begins with an answer.
    """
    line = " ".join(line.split())
    answer = line[: _end_of_sentence(line)]
    for stop in _STOP.finditer(line, 0, len(answer)):
        if _ends_here(line[: stop.start()], stop["word"], line[stop.end() :]):
            answer = line[: stop.end()]
            break
    return _without_additions(answer, line)


def _keeps_stop(answer: str) -> bool:
    """Return whether the full stop at the end of an answer belongs to its last word."""
    word = answer.removesuffix(".").rpartition(" ")[2].lstrip("\"'(").lower()
    return answer.endswith(".") and (word in WITH_STOP or bool(_DOTTED.fullmatch(word)))


def _end_of_sentence(line: str) -> int:
    """Return where the first sentence ends; "Mamma Mia! Here We Go" counts as one."""
    end = 0
    for sentence in split_sentences(line):
        start = line.index(sentence, end)
        if end and not _goes_on(line[:end], sentence):
            return end
        end = start + len(sentence)
    return end


def _goes_on(answer: str, sentence: str) -> bool:
    """Return whether a sentence that was split off belongs to the answer after all."""
    if answer.endswith(("!", "?", "\uff01", "\uff1f", "...", "\u2026")):
        return not _is_clause(sentence)
    return bool(_FIRST_NAME.search(answer)) or not re.search(r"\w", answer)


def _is_clause(text: str) -> bool:
    """Return whether a text is a clause rather than a name or a title."""
    first = next(iter(split_sentences(text)), "")
    words = _WORD.findall(first)
    if _WIDE.search(first):
        return "。" in first
    if not any(word.lower() != word.upper() for word in words):
        return True
    return any(word.islower() and word not in SMALL_WORDS for word in words)


def _ends_here(before: str, word: str, rest: str) -> bool:
    """Return whether a sentence ends after a word whose full stop may belong to the word.

    Args:
        before: The text before the word.
        word: The word, without its full stop.
        rest: The text after it.
    """
    if not _is_clause(rest):
        return False
    # "Ph.D. in physics", but "42. there are 42 of them"
    if rest[0].islower():
        return word.isdigit() and not before
    if word.isdigit() or _OPENER.match(rest):
        return True
    # "No. 1", but "Dr. No. Connery played Bond."
    if word.lower() in CLOSING or (word.lower() == "no" and rest[0].isalpha()):
        return True
    earlier: list[str] = [part.lower() for part in _WORD.findall(before)]
    following = _WORD.match(rest)
    if following and following[0].lower() in earlier:
        return True
    if len(word) != 1 or not earlier:
        return False
    if word == "X":
        return earlier[-1] != "francis"
    is_monarch = word in "IV" and not MONARCHS.isdisjoint((earlier[0], earlier[-1]))
    return is_monarch or earlier[-1] in LETTERED


def _without_additions(answer: str, line: str) -> str:
    """Return an answer without the clauses that follow it."""
    yes_or_no = _YES_OR_NO.match(line)
    if yes_or_no and (yes_or_no["wide"] or _is_clause(line[yes_or_no.end() :])):
        return yes_or_no["wide"] or yes_or_no["word"]
    ends = [addition.start() for addition in _ADDITION.finditer(answer)]
    after_names = (addition.start() for addition in _ADDITION_TO_NAME.finditer(answer))
    ends += [end for end in after_names if not _is_clause(answer[:end])]
    return answer[: min(ends, default=None)]
