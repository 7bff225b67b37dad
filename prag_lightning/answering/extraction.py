"""The part of a generated text that is scored as its answer."""

import re
from typing import Literal

Scoring = Literal["published", "strict"]


_ANSWER_MARK = "the answer is"


# Where a sentence may end: closing punctuation, then a space and a capital or an opening quote.
_SENTENCE_END = re.compile(r"([.!?])[\"')\]]*\s+(?=[\"'(\[]?[^\W\d_a-z])")


_ABBREVIATION = re.compile(
    r"\w|.*\..*|adm|bros|capt|co|col|corp|cpl|dept|dr|est|ft|gen|gov|hon|inc|jr|lt|ltd|maj|mr|mrs|ms|"
    r"mt|op|pres|prof|rep|rev|sen|sgt|sr|st|ste|vol|vs|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec",
    re.IGNORECASE,
)


# Words that begin a sentence far more often than they stand within a name.
_OPENER = re.compile(
    r"[\"'(\[]?(after|although|an|and|as|at|because|but|during|for|he|her|his|however|if|in|its?|on|"
    r"she|since|so|that|the|their|there|these|they|this|those|thus|we|when|while|you)\b",
    re.IGNORECASE,
)


def extract_answer(text: str, scoring: Scoring, chain_of_thought: bool = False) -> str:
    """Return the part of a generated text that is scored as its answer.

    Args:
        text: What the model generated, without the prompt.
        scoring: ``published`` cuts at the first full stop, newline or comma, as the published
            evaluation does (oneal2000/PRAG at e03742e). ``strict`` keeps the first line and cuts
            it where its first sentence must have ended, so that ``15,140``, ``Washington, D.C.``
            and ``J. K. Rowling`` stay whole.
        chain_of_thought: Whether the answer stands after the words ``the answer is``:
            ``published`` takes the first such place, in lower case only, ``strict`` the last.

    Raises:
        ValueError: If there is no such scoring.
    """
    if scoring == "published":
        return _extract_published(text, chain_of_thought)
    if scoring == "strict":
        return _extract_strict(text, chain_of_thought)
    raise ValueError(f"no scoring '{scoring}'; choose 'published' or 'strict'")


def _extract_published(text: str, chain_of_thought: bool) -> str:
    if chain_of_thought and _ANSWER_MARK in text:
        text = text.split(_ANSWER_MARK, 1)[1]
    text = text.strip()
    for stop in (".", "\n", ","):
        text = text.split(stop, 1)[0]
    return text.strip()


def _extract_strict(text: str, chain_of_thought: bool) -> str:
    line = text.strip().split("\n", 1)[0]
    if chain_of_thought:
        line = line[_end_of_last_mark(line) :].strip()
    return _first_sentence(line).strip()


def _end_of_last_mark(line: str) -> int:
    marks = list(re.finditer(_ANSWER_MARK, line, flags=re.IGNORECASE))
    return marks[-1].end() if marks else 0


def _first_sentence(line: str) -> str:
    """Return the line up to the first place where a sentence must have ended."""
    for end in _SENTENCE_END.finditer(line):
        word = line[: end.start()].rpartition(" ")[2].lstrip("\"'([")
        is_full_stop = end[1] == "." and not _ABBREVIATION.fullmatch(word)
        if is_full_stop or _OPENER.match(line, end.end()):
            return line[: end.end()]
    return line
