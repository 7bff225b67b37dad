"""Writing documents that exist only as objects to a folder."""

from collections.abc import Iterable
from pathlib import Path

from prag_lightning.documents.folder import DOCUMENTS
from prag_lightning.documents.records import Document, write_records


def write_documents(folder: Path, documents: Iterable[Document]) -> None:
    """Write documents to a folder, from which they can be augmented, indexed and encoded.

    Args:
        folder: Folder in which ``documents.jsonl`` is written.
        documents: The documents; iterated once.

    Raises:
        ValueError: If one is not a document, or there are none.
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
