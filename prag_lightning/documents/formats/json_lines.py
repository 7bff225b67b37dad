"""JSON Lines of documents; long documents are split into passages."""

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
        passage_words: Approximate number of words per passage; longer documents are split.
        overlap_words: Maximum number of words by which consecutive passages overlap.
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
