"""The sentences of a text, in whatever script it is written."""

import re
from collections.abc import Iterator

from sentencex import segment

# Kana, ideographs and full-width signs: where a line of them is wrapped, there was no space.
_WIDE = r"[\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]"
_WRAP_WITHIN_WIDE = re.compile(rf"(?<={_WIDE})[ \t\r]*\n[ \t\r]*(?={_WIDE})")
_HEADING = re.compile(r"#{1,6}\s")
_LIST_ITEM = re.compile(r"([-*+\u2022>|]|\d{1,3}[.)])\s")
# A name or a number follows, or what the number of a list item stands before.
_UNFINISHED = re.compile(
    r"(.*[\s(\"'\u201c])?(approx|ch|dr|est|fl|fr|ft|messrs|nr|pt|vol)\.|\(?\d{1,3}[.)]",
    re.IGNORECASE,
)
# "Version 2.0. is out", "т. е. да": a small letter goes on after a short word or a number.
_SHORT_END = re.compile(r"(.*\s)?(\w{1,2}|\S*\d)\.")
# 「行くの？」と彼は言った。
_AFTER_QUOTATION = re.compile(r"[\u3068\u3063]")


def split_sentences(text: str) -> list[str]:
    """Return the sentences of a text, with single spaces as their only white space.

    A blank line, a heading and a list item end the sentence before them; any other line break is
    taken for a wrapped line.

    >>> split_sentences("J. K. Rowling met Dr. No in Washington, D.C. in 1962. Who won?")
    ['J. K. Rowling met Dr. No in Washington, D.C. in 1962.', 'Who won?']
    >>> split_sentences("东京是首都。它很大！")
    ['东京是首都。', '它很大！']
    """
    return [sentence for block in _blocks(text) for sentence in _sentences_of(block)]


def _blocks(text: str) -> Iterator[str]:
    """Yield paragraphs, headings and list items: no sentence goes beyond one of them."""
    block: list[str] = []
    for line in _WRAP_WITHIN_WIDE.sub("", text).split("\n"):
        # Single ASCII spaces, for sentencex panics at others (1.0.32, U+0085 after a full stop).
        words = " ".join(line.split())
        is_heading = _HEADING.match(words)
        if not words or is_heading or _LIST_ITEM.match(words):
            yield " ".join(block)
            block = []
        block.append(words)
        if is_heading:
            yield words
            block = []
    yield " ".join(block)


def _sentences_of(block: str) -> list[str]:
    sentences: list[str] = []
    # The rules for English know the full stops of every script.
    for part in segment("en", block):
        if sentences and _goes_on(sentences[-1].rstrip(), part):
            sentences[-1] += part
        else:
            sentences.append(part)
    return [stripped for sentence in sentences if (stripped := sentence.strip())]


def _goes_on(sentence: str, following: str) -> bool:
    """Return whether what sentencex took for the end of a sentence is none."""
    return bool(
        _UNFINISHED.fullmatch(sentence)
        or (following[:1].islower() and _SHORT_END.fullmatch(sentence))
        or (sentence.endswith(("\u300d", "\u300f")) and _AFTER_QUOTATION.match(following))
    )
