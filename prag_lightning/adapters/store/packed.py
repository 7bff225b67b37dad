"""The packed store layout: millions of documents in few files."""

import heapq
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import cast

import torch
from torch import Tensor

from prag_lightning.adapters.files import StoreFiles
from prag_lightning.adapters.store.base import AdapterStore
from prag_lightning.adapters.store.journal import Line, adapter_checksum
from prag_lightning.adapters.store.manifest import Manifest
from prag_lightning.adapters.store.object_writer import ObjectWriter
from prag_lightning.adapters.store.packed_files import (
    HEADER_BYTES,
    shard_name,
    writer_folder,
    writer_folders,
)
from prag_lightning.adapters.store.packed_index import Entry
from prag_lightning.adapters.store.packed_repair import repair_packed
from prag_lightning.adapters.store.packed_shards import WriterFiles
from prag_lightning.adapters.store.packed_verify import verify_packed
from prag_lightning.adapters.store.packed_writer import ShardWriter, lost_lines
from prag_lightning.adapters.store.recipe import Recipe, StoreDtype
from prag_lightning.adapters.store.records import (
    CopiedFile,
    Damage,
    Receipt,
    StoredDocument,
    WriteLock,
)
from prag_lightning.adapters.store.rows import RowCodec

# Bytes of a document's journal line and index entry, for an id of about 20 characters.
_NAMING_BYTES = 320
_Place = tuple[WriterFiles, Entry]


class PackedStore(AdapterStore):
    """Adapters in shards, with a folder of shards per writer.

    If a document is stored several times, the highest version counts. If two concurrent writers
    stored the same version, the one that was stored first counts.

    Args:
        files: The store's files.
        manifest: Its manifest.
        lock: The write lock, in ``write`` mode.
        writer: Number of this writer.

    Raises:
        ValueError: If a journal line is lost. It may belong to any document, or replace any
            adapter, so that no answer of the store would be reliable.
    """

    name = "packed"
    writes_objects = True

    def __init__(
        self, files: StoreFiles, manifest: Manifest, lock: WriteLock | None = None, writer: int = 0
    ) -> None:
        super().__init__(files, manifest, lock, writer)
        self._codec = RowCodec(self.layout, manifest.dtype)
        self._own: ShardWriter | ObjectWriter | None = None
        # One thread may claim while another writes.
        self._refreshing = threading.Lock()
        if lock:
            own = writer_folder(writer)
            self._own = (
                ShardWriter(files, own, files.local, self._codec)
                if files.local
                else ObjectWriter(files, own, self._codec)
            )
        self._writers = [
            self._own
            if self._own and name == self._own.folder
            else WriterFiles(files, name, self._codec)
            for name in self._folders()
        ]
        if lost := [reason for writer in self._writers for reason in writer.lost]:
            self._abandon()
            raise lost_lines(lost[0])

    def refresh(self) -> None:
        """Read what other writers have stored since."""
        self._require_open()
        with self._refreshing:
            known = {writer.folder for writer in self._writers}
            for writer in self._writers:
                if writer is not self._own:
                    writer.refresh()
            new = [name for name in self._folders() if name not in known]
            added = [WriterFiles(self.files, name, self._codec) for name in new]
            self._writers = sorted([*self._writers, *added], key=lambda writer: writer.folder)

    def documents(self) -> Iterator[StoredDocument]:
        """Yield all documents, sorted by id."""
        self._require_open()
        merged = heapq.merge(*map(_places, self._writers), key=lambda item: item[0])
        for document_id, group in groupby(merged, key=lambda item: item[0]):
            writer, entry = min((place for _, place in group), key=_precedence)
            if entry.row is not None:
                yield _document(document_id, (writer, entry))

    def __len__(self) -> int:
        """Return the number of documents."""
        if len(self._writers) == 1 and self._writers[0].index and not self._writers[0].recent:
            return self._writers[0].index.num_documents
        return super().__len__()

    def find(self, document_ids: Sequence[str]) -> Mapping[str, StoredDocument]:
        """Return those documents that are stored."""
        self._require_open()
        newest: dict[str, _Place] = {}
        for writer in self._writers:
            for document_id, entry in writer.find(document_ids).items():
                known = newest.get(document_id)
                if known is None or _precedence((writer, entry)) < _precedence(known):
                    newest[document_id] = (writer, entry)
        return {
            document_id: _document(document_id, place)
            for document_id, place in newest.items()
            if place[1].row is not None
        }

    @classmethod
    def check(cls, files: StoreFiles, manifest: Manifest) -> Iterator[Damage]:
        """Yield all damage, after reading every adapter and accounting for every byte."""
        return verify_packed(files, RowCodec(manifest.recipe.layout, manifest.dtype))

    @classmethod
    def repair(cls, files: StoreFiles, manifest: Manifest, lock: WriteLock) -> None:
        """Remove damaged and unused adapters, free their space, and rebuild the indexes."""
        repair_packed(files, RowCodec(manifest.recipe.layout, manifest.dtype))

    @classmethod
    def forecast(cls, recipe: Recipe, dtype: StoreDtype, num_documents: int) -> int:
        """Return the disk space in bytes that the adapters will take, to within a few per cent."""
        return num_documents * (RowCodec(recipe.layout, dtype).num_bytes + _NAMING_BYTES)

    def copy_plan(self) -> Iterator[CopiedFile]:
        """Yield the indexes first, then the journals, then the shards.

        A running writer may be adding to them. In this order, an index never covers lines that its
        journal lacks, and a journal never names adapters that its shard lacks. The shard headers
        are read before the journals are copied, so that they never count rows without lines.
        """
        plan = {file.name for file in super().copy_plan()}
        shards = [name for name in plan if name.endswith(".safetensors")]
        # A shard without a journal has only just been started.
        whole = [name for name in shards if name.replace(".safetensors", ".jsonl") in plan]
        headers = {name: self.files.read(name, stop=HEADER_BYTES) for name in whole}
        others = sorted(plan - set(shards), key=lambda name: name.endswith(".jsonl"))
        yield from map(CopiedFile, others)
        yield from (CopiedFile(name, header) for name, header in headers.items())

    def _add(self, document_ids: Sequence[str], rows: Tensor, text_digests: Sequence[str]) -> None:
        assert self._own is not None
        data = self._codec.encode(rows)
        size = self._codec.num_bytes
        versions = self._next_versions(document_ids)
        stored = int(time.time())
        lines = [
            Line(
                i,
                document_id,
                digest,
                adapter_checksum(document_id, digest, data[i * size : (i + 1) * size]),
                versions[document_id],
                stored,
            )
            for i, (document_id, digest) in enumerate(zip(document_ids, text_digests, strict=True))
        ]
        self._own.add(lines, data)

    def _delete(self, documents: Sequence[StoredDocument]) -> None:
        assert self._own is not None
        versions = self._next_versions([document.id for document in documents])
        stored = int(time.time())
        lines = [
            Line(None, document.id, version=versions[document.id], stored=stored)
            for document in documents
        ]
        self._own.add(lines, memoryview(b""))

    def _next_versions(self, document_ids: Sequence[str]) -> dict[str, int]:
        """Return a version above all stored ones for each document; 0 for a new document."""
        versions = dict.fromkeys(document_ids, 0)
        for writer in self._writers:
            for document_id, entry in writer.find(document_ids).items():
                versions[document_id] = max(versions[document_id], entry.version + 1)
        return versions

    def _read(self, documents: Sequence[StoredDocument]) -> Tensor:
        self.flush()
        size = self._codec.num_bytes
        places = [cast(_Place, document.place) for document in documents]
        ranges: list[tuple[str, int, int]] = []
        for writer, entry in places:
            assert entry.row is not None
            start = HEADER_BYTES + entry.row * size
            ranges.append((shard_name(writer.folder, entry.shard), start, start + size))
        rows: list[Tensor] = []
        for document, (_, entry), (name, *_), data in zip(
            documents, places, ranges, self.files.read_ranges(ranges), strict=True
        ):
            if adapter_checksum(document.id, entry.text_digest, data) != entry.checksum:
                raise ValueError(
                    f"{self.files.path(name)}: the adapter of document {document.id!r} is damaged; "
                    "run `prag store verify STORE --repair true`, and encode it again"
                )
            rows.append(self._codec.decode(data))
        return torch.stack(rows)

    def flush(self) -> None:
        """Upload to an object store what was put so far."""
        if isinstance(self._own, ObjectWriter):
            self._own.flush()

    def _folders(self) -> list[str]:
        """Return the names of all writers' folders; of the own one, even if it is still to come."""
        own = {self._own.folder} if self._own else set()
        return sorted({*writer_folders(self.files), *own})

    def _receipt(self, document: StoredDocument) -> Receipt:
        writer, entry = cast(_Place, document.place)
        assert entry.row is not None
        file = shard_name(writer.folder, entry.shard)
        return Receipt(document.id, entry.text_digest, file, entry.row, entry.checksum)

    def _finish(self) -> None:
        if self._own:
            self._own.finish()
        self._abandon()

    def _abandon(self) -> None:
        for writer in self._writers:
            writer.close()


def _places(writer: WriterFiles) -> Iterator[tuple[str, _Place]]:
    """Yield the documents of a writer, sorted by id, with their places."""
    for document_id, entry in writer.entries():
        yield document_id, (writer, entry)


def _precedence(place: _Place) -> tuple[int, int]:
    """Return a key by which the entry that counts comes first; of equal ones, the first writer."""
    return -place[1].version, place[1].stored


def _document(document_id: str, place: _Place) -> StoredDocument:
    writer, entry = place
    return StoredDocument(document_id, entry.text_digest, entry.stored, place, writer.number)
