"""Splitting a text into sentences, in any script."""

import re
from collections.abc import Iterator

from sentencex import segment

# Kana, ideographs and full-width signs, between which a line break stands for no space.
_WIDE = r"[\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]"
_WRAP_WITHIN_WIDE = re.compile(rf"(?<={_WIDE})[ \t\r]*\n[ \t\r]*(?={_WIDE})")
_HEADING = re.compile(r"[ \t]*#{1,6}[ \t]")
_LIST_ITEM = re.compile(r"[ \t]*([-*+\u2022>|]|\d{1,3}[.)])[ \t]")
# Maps to ASCII spaces, because sentencex 1.0.32 fails on others (U+0085 after a full stop).
_PLAIN_SPACES = {sign: " " for sign in range(0x3001) if chr(sign).isspace()}
# An abbreviation before a name or a number, or the number of a list item.
_UNFINISHED = re.compile(
    r"(.*[\s(\"'\u201c])?(approx|ch|dr|est|fl|fr|ft|messrs|nr|pt|vol)\.|\(?\d{1,3}[.)]",
    re.IGNORECASE,
)
# "Version 2.0. is out", "т. е. да": a lowercase letter continues after a short word or number.
_SHORT_END = re.compile(r"(.*\s)?(\w{1,2}|\S*\d)\.")
# Wikipedia's notes after a full stop: "[2]", "[citation needed]", ":121,154".
_NOTES = re.compile(r"((\[(\d{1,3}|[a-z][a-z ]*\??)\]|:\d[\d,\u2013-]*)\s*)+")
# A particle that continues after a quotation: 「行くの？」と彼は言った。
_AFTER_QUOTATION = re.compile(r"[\u3068\u3063]")


def split_sentences(text: str) -> list[str]:
    """Return the sentences of a text, with white space collapsed to single spaces.

    A blank line, a heading or a list item ends the sentence before it; any other line break is
    treated as a wrapped line.

    >>> split_sentences("J. K. Rowling met Dr. No in Washington, D.C. in 1962. Who won?")
    ['J. K. Rowling met Dr. No in Washington, D.C. in 1962.', 'Who won?']
    >>> split_sentences("东京是首都。它很大！")
    ['东京是首都。', '它很大！']
    """
    sentences = (text[start:end] for start, end in sentence_spans(text))
    return [" ".join(_WRAP_WITHIN_WIDE.sub("", sentence).split()) for sentence in sentences]


def sentence_spans(text: str) -> Iterator[tuple[int, int]]:
    """Yield the start and end of each sentence in the text, including surrounding white space."""
    plain = text.translate(_PLAIN_SPACES)
    for start, end in _block_spans(text):
        for length in _sentence_lengths(plain[start:end]):
            if plain[start : start + length].strip():
                yield start, start + length
            start += length


def _block_spans(text: str) -> Iterator[tuple[int, int]]:
    """Yield paragraphs, headings and list items, which sentences cannot cross."""
    start = position = 0
    follows_heading = False
    for line in text.split("\n"):
        is_heading = bool(_HEADING.match(line))
        if follows_heading or is_heading or not line.strip() or _LIST_ITEM.match(line):
            yield start, position
            start = position
        position += len(line) + 1
        follows_heading = is_heading
    yield start, len(text)


def _sentence_lengths(block: str) -> list[int]:
    lengths = [0]
    before = ""
    # sentencex's rules for English handle the full stops of all scripts.
    for part in segment("en", block):
        notes = _NOTES.match(part)
        # The number of characters that belong to the previous sentence.
        length = notes.end() if notes else 0
        if _goes_on(before.strip()[-40:], part):
            length = len(part)
        lengths[-1] += length
        if length < len(part):
            lengths.append(len(part) - length)
        before = part
    return lengths


def _goes_on(end: str, following: str) -> bool:
    """Return whether the sentence continues despite a boundary that sentencex reported."""
    return bool(
        _UNFINISHED.fullmatch(end)
        or (following[:1].islower() and _SHORT_END.fullmatch(end))
        or (end.endswith(("\u300d", "\u300f")) and _AFTER_QUOTATION.match(following))
    )
