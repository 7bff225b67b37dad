"""The part of a generated text that is scored as its answer."""

import re

from prag_lightning.answering.answer_end import first_statement, keeps_stop

ANSWER_MARK = "the answer is"

# Where a model goes on by asking itself, as the examples in its prompt do.
_NEXT_QUESTION = re.compile(r"(?im:^[ \t]*(?:question|q)[ \t]*:)|(?<!\w)Question:")
# What stands before an answer and is none of it: ": Paris", "**Paris**", but not "-5" or ".NET".
_LEAD = re.compile(r"(?:\s|[:\uff1a*#`]|[.,;!?\-\u2013\u2014]+(?=\s+\S))*")
_FOOTNOTES = re.compile(r"(?<=\S)(?:\[\d{1,3}\])+$")
_STOPS = " .。\uff0e｡।॥\u06d4។"
_WRAPS = [("\u201c", "\u201d"), ("「", "」"), ("『", "』"), ("«", "»"), *((c, c) for c in '*`"')]


def extract_published(text: str, answer_mark: str | None = None) -> str:
    """Return what the published evaluation scores (oneal2000/PRAG at e03742e).

    The text up to the first full stop, newline or comma.

    Args:
        text: What the model generated, without the prompt.
        answer_mark: The words that the answer follows, where the text is a chain of thought: the
            first place that has them, in the same case.
    """
    if answer_mark and answer_mark in text:
        text = text.split(answer_mark, 1)[1]
    text = text.strip()
    for stop in (".", "\n", ","):
        text = text.split(stop, 1)[0]
    return text.strip()


def extract_strict(text: str, answer_mark: str | None = None) -> str:
    r"""Return the answer without what is said about it.

    The first line up to where its first statement must have ended, so that ``15,140``,
    ``Washington, D.C.`` and ``J. K. Rowling`` stay whole and ``No, they were not.`` is ``No``. What
    comes after a next ``Question:`` does not count.

    Args:
        text: What the model generated, without the prompt.
        answer_mark: The words that the answer follows, where the text is a chain of thought: the
            last place that has them, on any line and in any case.

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
    return _unwrapped(first_statement(lines[0])) if lines else ""


def _conclusion(text: str, answer_mark: str) -> str:
    """Return what follows the last mark that anything follows; without a mark all of the text."""
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
        if not keeps_stop(answer):
            answer = answer.rstrip(_STOPS)
        for opening, closing in _WRAPS:
            if answer[:1] == opening and answer.find(closing, 1) == len(answer) - 1 > 0:
                answer = answer[1:-1]
        if answer.count('"') == 1:
            answer = answer.strip('"')
    return answer
