"""Documents that are objects and not files yet."""

from collections.abc import Iterable
from pathlib import Path

from prag_lightning.documents.folder import DOCUMENTS
from prag_lightning.documents.records import Document, write_records


def write_documents(folder: Path, documents: Iterable[Document]) -> None:
    """Write documents as a folder that all else can be read from and built in.

    Args:
        folder: Where ``documents.jsonl`` is written.
        documents: What to write; read once.

    Raises:
        ValueError: If something else than a document is among them, or nothing at all.
    """

    def checked() -> Iterable[Document]:
        for number, document in enumerate(documents, start=1):
            if not isinstance(document, Document):
                raise ValueError(
                    f"number {number} of the documents is a {type(document).__name__}, "
                    'not a Document; make one with Document(id="...", text="...")'
                )
            yield document

    if write_records(folder / DOCUMENTS, checked()) == 0:
        raise ValueError("there are no documents; give at least one")
