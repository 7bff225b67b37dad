"""Adding records to a folder of documents: files are replaced as wholes."""

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from prag_lightning.documents.folder import CORPUS, DOCUMENTS
from prag_lightning.documents.records import Augmentation, Document, read_records
from prag_lightning.documents.writing import atomic_file

AUGMENTATIONS = "augmentations.jsonl"


def add_documents(
    folder: Path, documents: Sequence[Document], augmentations: Iterable[Augmentation]
) -> None:
    """Add documents and their augmentations to a folder's files, unless they are there.

    The file of documents comes last: a document that is in it has its augmentation.

    Args:
        folder: Folder of the documents.
        documents: The documents.
        augmentations: Their augmentations.

    Raises:
        OSError: If a file cannot be written, as on a full disk.
    """
    _add(folder / AUGMENTATIONS, list(augmentations))
    if (folder / CORPUS).exists():
        _add(folder / CORPUS, documents)
    _add(folder / DOCUMENTS, documents)


def _add(file: Path, records: Sequence[Document] | Sequence[Augmentation]) -> None:
    if not records:
        return
    known = set[str]()
    if file.exists():
        known = {_id(record) for record in read_records(file, type(records[0]))}
    new = [record for record in records if _id(record) not in known]
    if not new:
        return
    with atomic_file(file, "wb") as out:
        if file.exists():
            with file.open("rb") as old:
                shutil.copyfileobj(old, out)
            out.write(_line_break_after(file))
        for record in new:
            out.write(record.model_dump_json(exclude_none=True).encode() + b"\n")


def _id(record: Document | Augmentation) -> str:
    return record.document_id if isinstance(record, Augmentation) else record.id


def _line_break_after(file: Path) -> bytes:
    with file.open("rb") as old:
        if not old.seek(0, 2):
            return b""
        old.seek(-1, 2)
        return b"" if old.read() == b"\n" else b"\n"
