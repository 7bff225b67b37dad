"""DPR's Wikipedia (arXiv:2004.04906): 21 million passages of 100 words, one per line."""

import gzip
from collections.abc import Iterator
from pathlib import Path

from prag_lightning.documents.entries import Entry, ForeignRecord, NonEmpty, existing
from prag_lightning.documents.formats.sources import read_table
from prag_lightning.documents.records import Document


class _Row(ForeignRecord):
    id: NonEmpty
    text: str
    title: str


def read_dpr(source: Path) -> Iterator[Entry]:
    """Read ``psgs_w100.tsv``, compressed by gzip or not, one line at a time."""
    file = existing(source, "psgs_w100.tsv or psgs_w100.tsv.gz")
    with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as lines:
        for row in read_table(lines, _Row, str(file)):
            yield Entry(documents=(Document(id=row.id, title=row.title, text=row.text),))
