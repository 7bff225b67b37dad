"""The ``peft`` layout of a store: a folder for each document, which PEFT and servers load."""

import hashlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from prag_lightning.adapters.files import StoreFiles
from prag_lightning.adapters.layout import AdapterLayout, all_finite
from prag_lightning.adapters.peft_format import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    adapter_bytes,
    adapter_row,
    check_sizes,
    config_json,
)
from prag_lightning.adapters.store.base import AdapterStore, Damage, WriteLock
from prag_lightning.adapters.store.durable import needs_room, sync_folder, write_synced
from prag_lightning.adapters.store.packed_index import (
    Line,
    adapter_checksum,
    is_intact,
    journal_line,
    read_line,
)
from prag_lightning.adapters.store.recipe import Manifest

DOCUMENT_FILE = "document.json"
_NAME_DIGITS = 64
# Bytes that are read of the two files beside the weights.
_SMALL_FILE_LIMIT = 2**20
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class PeftFolderStore(AdapterStore):
    """Adapters in folders named by the SHA-256 of their document's id.

    A folder is written under another name and renamed when it is whole and on the disk. Beside
    PEFT's two files it holds ``document.json``: the id, the text's digest and a checksum.

    Args:
        files: The store.
        manifest: Its manifest.
        lock: The right to write, in ``write`` mode.
        rank: This process's number among those that write.
    """

    def __init__(
        self, files: StoreFiles, manifest: Manifest, lock: WriteLock | None = None, rank: int = 0
    ) -> None:
        super().__init__(files, manifest, lock)
        self._config = config_json(self.recipe.lora, self.recipe.base_model)
        if lock and files.local:
            self._root = files.local
            self._temporary = files.local / f".unfinished-{rank:05d}"
            shutil.rmtree(self._temporary, ignore_errors=True)

    def ids(self) -> Iterator[str]:
        """Yield the ids of all documents."""
        for folder in document_folders(self.files):
            document_id = _read_document(self.files, folder).document_id
            assert document_id is not None
            yield document_id

    def __len__(self) -> int:
        """Return the number of documents."""
        return sum(1 for _ in document_folders(self.files))

    @staticmethod
    def repair(files: StoreFiles, folder: Path, manifest: Manifest) -> None:
        """Take out what is damaged, so that the next run encodes it again."""
        for document in list(document_folders(files)):
            if _check_folder(files, document, manifest.recipe.layout):
                shutil.rmtree(folder / document)

    @staticmethod
    def _check(files: StoreFiles, manifest: Manifest) -> Iterator[Damage]:
        for folder in document_folders(files):
            if damage := _check_folder(files, folder, manifest.recipe.layout):
                yield damage

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
            files = {
                WEIGHTS_FILE: weights,
                CONFIG_FILE: self._config,
                DOCUMENT_FILE: journal_line(Line(0, document_id, digest, checksum)),
            }
            self._write_folder(self._root / folder_of(document_id), files)

    def _write_folder(self, folder: Path, files: Mapping[str, bytes]) -> None:
        """Write a folder whole or not at all."""
        try:
            with needs_room(folder, sum(map(len, files.values()))):
                self._temporary.mkdir(exist_ok=True)
                for name, content in files.items():
                    write_synced(self._temporary / name, content)
                sync_folder(self._temporary)
                folder.parent.mkdir(parents=True, exist_ok=True)
        except BaseException:
            shutil.rmtree(self._temporary, ignore_errors=True)
            raise
        # What is there already is damaged, or the document would count as stored.
        shutil.rmtree(folder, ignore_errors=True)
        self._temporary.replace(folder)
        sync_folder(folder.parent)
        sync_folder(folder.parent.parent)

    def _read(self, document_ids: Sequence[str]) -> Tensor:
        documents = self._documents(document_ids)
        if len(documents) < len(set(document_ids)):
            raise self._missing(document_ids, documents)
        rows: list[Tensor] = []
        for document_id in document_ids:
            folder = folder_of(document_id)
            weights = _read_weights(self.files, folder, self.layout, documents[document_id])
            rows.append(adapter_row(weights, self.layout, self.files.path(folder)))
        return torch.stack(rows)

    def _text_digests(self, document_ids: Sequence[str]) -> Mapping[str, str]:
        return {i: document.text_digest for i, document in self._documents(document_ids).items()}

    def _documents(self, document_ids: Sequence[str]) -> dict[str, Line]:
        folders = {document_id: folder_of(document_id) for document_id in document_ids}
        return {
            document_id: _read_document(self.files, folder)
            for document_id, folder in folders.items()
            if self.files.exists(f"{folder}/{DOCUMENT_FILE}")
        }

    def _finish(self) -> None:
        """Do nothing: every folder is finished."""


def folder_of(document_id: str) -> str:
    """Return the folder of a document; its id is data, and never part of a path."""
    digest = hashlib.sha256(document_id.encode()).hexdigest()
    return f"documents/{digest[:2]}/{digest}"


def document_folders(files: StoreFiles) -> Iterator[str]:
    """Yield the folders of all documents."""
    for part in files.names("documents"):
        for name in files.names(f"documents/{part}"):
            # Desktops leave files of their own in folders.
            if len(name) == _NAME_DIGITS:
                yield f"documents/{part}/{name}"


def _read_document(files: StoreFiles, folder: str) -> Line:
    """Return which document a folder is of, and what is known of its adapter.

    Raises:
        ValueError: If the folder is damaged.
    """
    name = f"{folder}/{DOCUMENT_FILE}"
    try:
        content = files.read(name, stop=_SMALL_FILE_LIMIT)
        document = read_line(content[:-1])
    except (ValueError, FileNotFoundError) as error:
        raise _damaged(files, name, "cannot be read") from error
    named = document.document_id is not None and folder_of(document.document_id) == folder
    if not named or not content.endswith(b"\n"):
        raise _damaged(files, name, "is not that of its folder")
    return document


def _read_weights(files: StoreFiles, folder: str, layout: AdapterLayout, document: Line) -> bytes:
    """Return the safetensors file of a folder, whose checksum is right.

    Raises:
        ValueError: If the folder is damaged, or holds a pickle.
    """
    files.refuse_pickles(folder)
    name = f"{folder}/{WEIGHTS_FILE}"
    try:
        check_sizes(files, name, layout)
        weights = files.read(name)
        config = files.read(f"{folder}/{CONFIG_FILE}", stop=_SMALL_FILE_LIMIT)
    except FileNotFoundError as error:
        raise _damaged(files, folder, "lacks a file") from error
    if not is_intact(document, weights, config):
        raise _damaged(
            files, folder, f"the adapter of document {document.document_id!r} is damaged"
        )
    return weights


def _check_folder(files: StoreFiles, folder: str, layout: AdapterLayout) -> Damage | None:
    """Return what is wrong with a folder."""
    document_id: str | None = None
    try:
        document = _read_document(files, folder)
        document_id = document.document_id
        _read_weights(files, folder, layout, document)
    except ValueError as error:
        return Damage(document_id, folder, str(error))
    return None


def _damaged(files: StoreFiles, name: str, what: str) -> ValueError:
    return ValueError(
        f"{files.path(name)}: {what}; run `prag store verify STORE --repair true`, and encode the "
        "document again"
    )
