"""Splitting long documents into passages of similar length."""

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import pairwise

from prag_lightning.documents.records import Document
from prag_lightning.documents.sentences import sentence_spans

# The length of DPR's passages, on which retrievers are commonly trained.
PASSAGE_WORDS = 100

# Scripts without spaces between words: Southeast Asian ones, Tibetan, kana and ideographs.
_UNSPACED = (
    r"\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\u3000-\u30ff\u3400-\u9fff"
    r"\ua9e0-\ua9ff\uaa60-\uaa7f\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff"
)
# A letter of these scripts, with its marks and punctuation, counts as a word. In other scripts a
# word has at most 24 characters; longer runs are mostly URLs and codes.
_WORD = re.compile(rf"(?=\w)[{_UNSPACED}](?:(?!\w)[{_UNSPACED}])*|[^\s{_UNSPACED}]{{1,24}}|\S")


def split_document(
    document: Document, passage_words: int = PASSAGE_WORDS, overlap_words: int = 0
) -> list[Document]:
    """Split a document into passages, each with the document's title.

    Passages have similar lengths and end at sentence ends, unless a sentence is longer than a
    passage. In scripts without spaces between words, a letter counts as a word. A single passage
    keeps the document's id; several have ``id#0``, ``id#1``, ...

    Args:
        document: The document to split.
        passage_words: Approximate number of words per passage.
        overlap_words: Maximum number of words by which consecutive passages overlap; the overlap
            starts at a sentence start if possible.

    Returns:
        The passages in order, or the document itself if it is short enough.

    Raises:
        ValueError: If the overlap is not shorter than a passage.
    """
    if not 0 <= overlap_words < passage_words:
        raise ValueError(
            f"an overlap of {overlap_words} words does not fit passages of {passage_words}; "
            "give from 0 to fewer than those"
        )
    text = document.text
    words = [word.start() for word in _WORD.finditer(text)]
    if len(words) <= passage_words:
        return [document]
    cuts = list(_cuts(text, words, passage_words))
    num_passages = -(-(len(words) - overlap_words) // (passage_words - overlap_words))
    starts = _even_starts(cuts, len(words), num_passages)
    begins = [starts[0], *(_overlapping(start, overlap_words, cuts) for start in starts[1:])]
    offsets = [*words, len(text)]
    texts = [
        text[offsets[begin] : offsets[end]].strip()
        for begin, end in zip(begins, [*starts[1:], len(words)], strict=True)
    ]
    return [
        document.model_copy(update={"id": f"{document.id}#{number}", "text": passage})
        for number, passage in enumerate(texts)
    ]


def _cuts(text: str, words: Sequence[int], passage_words: int) -> Iterator[int]:
    """Yield the first word of each sentence, and of each part of a sentence that is too long.

    Args:
        text: The text to cut.
        words: Offsets of its words.
        passage_words: Maximum length of a part in words.
    """
    for start, end in sentence_spans(text):
        yield from range(bisect_left(words, start), bisect_left(words, end), passage_words)


def _even_starts(cuts: Sequence[int], num_words: int, num_passages: int) -> list[int]:
    """Return the first word of each passage, for passages of similar length."""
    starts: dict[int, int] = {}
    for start, end in pairwise((*cuts, num_words)):
        # A piece between two cuts belongs to the passage that contains its midpoint.
        starts.setdefault((start + end) * num_passages // (2 * num_words), start)
    return list(starts.values())


def _overlapping(start: int, overlap_words: int, cuts: Sequence[int]) -> int:
    """Return the first word of a passage that overlaps with the previous one."""
    earliest = start - overlap_words
    cut = cuts[bisect_left(cuts, earliest)]
    return cut if cut < start else earliest
