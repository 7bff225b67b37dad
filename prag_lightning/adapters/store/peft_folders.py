"""The ``peft`` store layout: a folder per document, which PEFT and servers load directly."""

import errno
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from prag_lightning.adapters.files import StoreFiles
from prag_lightning.adapters.layout import all_finite
from prag_lightning.adapters.peft_format import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    adapter_bytes,
    adapter_row,
    config_json,
)
from prag_lightning.adapters.store.base import AdapterStore
from prag_lightning.adapters.store.durable import needs_room, write_synced
from prag_lightning.adapters.store.journal import Line, adapter_checksum, journal_line
from prag_lightning.adapters.store.manifest import Manifest
from prag_lightning.adapters.store.peft_documents import (
    DOCUMENT_FILE,
    LOOKS,
    PAUSE,
    REPLACED,
    check_folder,
    document_folders,
    folder_of,
    read_document,
    read_weights,
    read_whole,
    replaced_folders,
)
from prag_lightning.adapters.store.recipe import Recipe, StoreDtype
from prag_lightning.adapters.store.records import (
    CopiedFile,
    Damage,
    Receipt,
    StoredDocument,
    WriteLock,
)
from prag_lightning.adapters.store.rows import RowCodec
from prag_lightning.documents.writing import sync_path

_REPLACE = "replace.lock"
# What the system answers if a folder is moved to where another one is.
_NOT_EMPTY = (errno.ENOTEMPTY, errno.EEXIST)
# Block size of common file systems.
_BLOCK_BYTES = 4096
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class PeftFolderStore(AdapterStore):
    """Adapters in folders named after the SHA-256 of the document's id.

    A folder is written under a temporary name, flushed to disk and then renamed. Besides PEFT's two
    files it contains ``document.json`` with the id, the text digest and a checksum.

    Args:
        files: The store's files.
        manifest: Its manifest.
        lock: The write lock, in ``write`` mode.
        writer: Number of this writer.
    """

    name = "peft"
    # PEFT cannot read int8.
    dtypes = ("float32", "bfloat16", "float16")

    def __init__(
        self, files: StoreFiles, manifest: Manifest, lock: WriteLock | None = None, writer: int = 0
    ) -> None:
        super().__init__(files, manifest, lock, writer)
        self._config = config_json(self.recipe.lora, self.recipe.base_model)
        if lock:
            self._temporary = self.folder / f".unfinished-{writer:05d}"
            _remove(self._temporary)

    def documents(self) -> Iterator[StoredDocument]:
        """Yield all documents."""
        self._require_open()
        for folder in document_folders(self.files):
            if (document := read_document(self.files, folder)) is not None:
                yield _stored(document, folder)

    def __len__(self) -> int:
        """Return the number of documents."""
        return sum(1 for _ in document_folders(self.files))

    def find(self, document_ids: Sequence[str]) -> Mapping[str, StoredDocument]:
        """Return those documents that are stored.

        Raises:
            ValueError: If a document's folder is damaged.
        """
        self._require_open()
        found: dict[str, StoredDocument] = {}
        for document_id in document_ids:
            folder = folder_of(document_id)
            # While being replaced, a document is under its other name, and then under its own
            # again.
            for name in (folder, folder + REPLACED, folder):
                if (document := read_document(self.files, name)) is not None:
                    found[document_id] = _stored(document, name)
                    break
        return found

    def copy_plan(self) -> Iterator[CopiedFile]:
        """Yield all files, with a consistent snapshot of each document."""
        for folder in document_folders(self.files):
            target = folder.removesuffix(REPLACED)
            for name, content in read_whole(self.files, folder).items():
                yield CopiedFile(f"{target}/{name}", content, is_whole=True)
        for file in super().copy_plan():
            if not file.name.startswith("documents/"):
                yield file

    @classmethod
    def check(cls, files: StoreFiles, manifest: Manifest) -> Iterator[Damage]:
        """Yield all damage, after reading every file of every document."""
        for folder in document_folders(files):
            for _ in range(LOOKS):
                damage = check_folder(files, folder, manifest.recipe.layout)
                if damage is None:
                    break
                # A running writer may have been replacing or deleting the folder.
                time.sleep(PAUSE)
            else:
                assert damage is not None
                yield damage
        for folder in replaced_folders(files):
            what = "was being replaced by a process that was killed"
            yield Damage(None, folder, what, harmless=True)

    @classmethod
    def repair(cls, files: StoreFiles, manifest: Manifest, lock: WriteLock) -> None:
        """Remove what is damaged, so that the next run encodes it again."""
        assert files.local is not None
        for unfinished in files.local.glob(".unfinished-*"):
            _remove(unfinished)
        for folder in list(replaced_folders(files)):
            path, target = files.local / folder, files.local / folder.removesuffix(REPLACED)
            if target.exists():
                _remove(path)
            else:
                path.rename(target)
        for folder in list(document_folders(files)):
            if check_folder(files, folder, manifest.recipe.layout):
                _remove(files.local / folder)

    @classmethod
    def forecast(cls, recipe: Recipe, dtype: StoreDtype, num_documents: int) -> int:
        """Return the disk space in bytes that the adapters will take, to within a few per cent."""
        size = RowCodec(recipe.layout, dtype).num_bytes + 100 * len(recipe.layout.matrices)
        # Two small files and two folders take a block each; few documents share a parent folder.
        blocks = -(-size // _BLOCK_BYTES) + 4
        return num_documents * blocks * _BLOCK_BYTES

    def _receipt(self, document: StoredDocument) -> Receipt:
        folder, line = cast(tuple[str, Line], document.place)
        file = f"{folder.removesuffix(REPLACED)}/{WEIGHTS_FILE}"
        return Receipt(document.id, line.text_digest, file, 0, line.checksum)

    def _add(self, document_ids: Sequence[str], rows: Tensor, text_digests: Sequence[str]) -> None:
        for document_id, row, digest in zip(document_ids, rows, text_digests, strict=True):
            numbers = row.to(_DTYPES[self.manifest.dtype])
            if not all_finite(numbers):
                raise ValueError(
                    f"document {document_id!r}: its adapter holds numbers that are not finite in "
                    f"{self.manifest.dtype}; nothing of it was stored"
                )
            weights = adapter_bytes(numbers, self.layout)
            checksum = adapter_checksum(document_id, digest, weights, self._config)
            line = Line(0, document_id, digest, checksum, stored=int(time.time()))
            files = {
                WEIGHTS_FILE: weights,
                CONFIG_FILE: self._config,
                DOCUMENT_FILE: journal_line(line),
            }
            self._write_folder(line, files)

    def _write_folder(self, document: Line, files: Mapping[str, bytes]) -> None:
        """Write a document's folder atomically, and only then remove the one it replaces."""
        folder = self.folder / folder_of(str(document.document_id))
        try:
            with needs_room(folder, sum(map(len, files.values()))):
                self._temporary.mkdir()
                for name, content in files.items():
                    write_synced(self._temporary / name, content)
                sync_path(self._temporary)
                folder.parent.mkdir(parents=True, exist_ok=True)
        except BaseException:
            shutil.rmtree(self._temporary, ignore_errors=True)
            raise
        replaced = folder.with_name(folder.name + REPLACED)
        try:
            if folder.exists() or replaced.exists():
                self._replace(folder, replaced, document)
            else:
                self._temporary.rename(folder)
        except OSError as error:
            if error.errno not in _NOT_EMPTY:
                raise
            # Another writer has stored the document in the same moment, and the first one counts.
            _remove(self._temporary)
        sync_path(folder.parent)
        sync_path(folder.parent.parent)

    def _replace(self, folder: Path, replaced: Path, document: Line) -> None:
        """Put the new folder into the place of an old one, unless that is of the same text."""
        # Imported here because locks need POSIX, which reading does not.
        from prag_lightning.adapters.store.lock_file import turn

        # Only one writer at a time, for each moves the old folder out of the way.
        with turn(self.folder / _REPLACE):
            if self._holds(document):
                # Another writer was faster, and the first adapter counts.
                _remove(self._temporary)
                return
            if folder.exists():
                _remove(replaced)
                folder.rename(replaced)
            self._temporary.rename(folder)
            sync_path(folder.parent)
            self._discard(replaced)

    def _holds(self, document: Line) -> bool:
        """Return whether a document is stored with the same text by now."""
        assert document.document_id is not None
        try:
            stored = read_document(self.files, folder_of(document.document_id))
        except ValueError:
            return False
        return stored is not None and stored.text_digest == document.text_digest

    def _delete(self, documents: Sequence[StoredDocument]) -> None:
        for document in documents:
            folder = self.folder / folder_of(document.id)
            replaced = folder.with_name(folder.name + REPLACED)
            if folder.exists():
                _remove(replaced)
            self._discard(folder if folder.exists() else replaced)

    def _discard(self, folder: Path) -> None:
        """Delete a folder, if it exists, without leaving a partial one visible."""
        if folder.exists():
            folder.rename(self._temporary)
            sync_path(folder.parent)
            _remove(self._temporary)

    def _read(self, documents: Sequence[StoredDocument]) -> Tensor:
        rows: list[Tensor] = []
        for document in documents:
            folder, _ = cast(tuple[str, Line], document.place)
            weights = self._read_weights(document)
            rows.append(adapter_row(weights, self.layout, self.files.path(folder)))
        return torch.stack(rows)

    def _read_weights(self, document: StoredDocument) -> bytes:
        folder, line = cast(tuple[str, Line], document.place)
        try:
            return read_weights(self.files, folder, self.layout, line)
        except ValueError:
            # A running writer may have replaced it in the meantime.
            again = self.find([document.id]).get(document.id)
            if again is None or again == document:
                raise
            return self._read_weights(again)


def _stored(document: Line, folder: str) -> StoredDocument:
    assert document.document_id is not None
    place = folder, document
    return StoredDocument(document.document_id, document.text_digest, document.stored, place)


def _remove(path: Path) -> None:
    """Delete a folder, if it exists; if it is a link, delete only the link."""
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)
