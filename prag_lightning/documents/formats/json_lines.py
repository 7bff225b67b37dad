"""JSON Lines of documents; long ones in passages."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from prag_lightning.documents.entries import Entry, ForeignDocument
from prag_lightning.documents.passages import PASSAGE_WORDS, split_document
from prag_lightning.documents.records import read_records


@dataclass(frozen=True)
class JsonLines:
    """Reads JSON Lines of ``id`` (or ``_id``), ``title`` and ``text``.

    Args:
        passage_words: Longer documents are split into passages of about as many words.
        overlap_words: How many words of a passage the next one begins with, at most.
    """

    passage_words: int = PASSAGE_WORDS
    overlap_words: int = 0

    def __call__(self, source: Path) -> Iterator[Entry]:
        """Yield the passages of each line."""
        for line in read_records(source, ForeignDocument):
            document = line.as_document()
            yield Entry(
                documents=tuple(split_document(document, self.passage_words, self.overlap_words))
            )
