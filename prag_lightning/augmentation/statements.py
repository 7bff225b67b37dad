"""Extracting a document's informative sentences, without headings, code and list markers."""

import re
from collections.abc import Iterator
from itertools import groupby

from prag_lightning.documents.records import Document
from prag_lightning.documents.sentences import split_sentences

_HEADING = re.compile(r"\s{0,3}#{1,6}(?:\s|$)")
# Lines below a heading, between sections, and between a table's header and rows.
_RULER = re.compile(r"\s*(?:={2,}|-{2,}|\*{3,}|_{3,}|\|?[\s:|-]*-{3}[\s:|-]*)\s*\Z")
_FENCE = re.compile(r"\s*(?:```|~~~)")
_BULLET = re.compile(r"\A\s*(?:(?:[-*+\u2022>|]|\d{1,3}[.)])\s+)+")
# Quotation marks and footnote numbers may follow.
_END = re.compile(
    r"[.!?\u2026\u3002\uff01\uff1f\u061f\u06d4\u0964](?:[\"'\u201d\u2019)*_]|\s*\[\d+\])*\s*\Z"
)
_LONGEST_HEADING = 8
_LONGEST_FIRST_LINE = 4


def find_statements(document: Document) -> list[str]:
    r"""Return the sentences of a document's text without its formatting.

    Headings, code, rulers and list markers are left out. A short paragraph that does not end like a
    sentence counts as a heading, unless nothing else follows.

    >>> find_statements(Document(id="a", text="# Heron\n\n- It is green.\n\nHistory\n\nIt is old."))
    ['It is green.', 'It is old.']
    """
    lines = _without_marks(document)
    groups = groupby(lines, key=lambda line: bool(line.strip()))
    blocks = ["\n".join(block) for is_text, block in groups if is_text]
    if not all(map(_is_label, blocks)):
        blocks = [*(block for block in blocks[:-1] if not _is_label(block)), blocks[-1]]
    sentences = (_BULLET.sub("", text) for block in blocks for text in split_sentences(block))
    return [text.strip(" |") for text in sentences if any(map(str.isalnum, text))]


def _without_marks(document: Document) -> Iterator[str]:
    """Yield the lines of a text, with blank lines in place of formatting."""
    lines = document.text.split("\n")
    in_code, is_first = False, True
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        is_mark = in_code or any(mark.match(line) for mark in (_FENCE, _RULER, _HEADING))
        if _FENCE.match(line):
            in_code = not in_code
        is_mark = is_mark or bool(_RULER.match(following) and not _END.search(line))
        is_mark = is_mark or (is_first and _is_title(line, following, document.title))
        is_first = is_first and not line.strip()
        yield "" if is_mark else line


def _is_title(line: str, following: str, title: str) -> bool:
    text = line.strip()
    if title and text.casefold() == title.strip().casefold():
        return True
    is_short = 0 < len(text.split()) <= _LONGEST_FIRST_LINE
    return is_short and not _END.search(text) and following.strip()[:1].isupper()


def _is_label(block: str) -> bool:
    is_short = len(block.split()) <= _LONGEST_HEADING and "\n" not in block
    return is_short and not _END.search(block) and not _BULLET.match(block)
