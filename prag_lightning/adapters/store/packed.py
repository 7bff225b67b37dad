"""The packed layout of a store: many documents in few files, for millions of them."""

import heapq
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
from prag_lightning.adapters.store.packed_files import HEADER_BYTES, shard_name, writer_folders
from prag_lightning.adapters.store.packed_index import Entry
from prag_lightning.adapters.store.packed_repair import repair_packed
from prag_lightning.adapters.store.packed_shards import WriterFiles
from prag_lightning.adapters.store.packed_verify import verify_packed
from prag_lightning.adapters.store.packed_writer import ShardWriter, lost_lines
from prag_lightning.adapters.store.recipe import Recipe, StoreDtype
from prag_lightning.adapters.store.records import (
    CopiedFile,
    Damage,
    StoredDocument,
    WriteLock,
)
from prag_lightning.adapters.store.rows import RowCodec

# A document's line in the journal and its entry in the index, at an id of some 20 letters.
_NAMING_BYTES = 320
_Place = tuple[WriterFiles, Entry]


class PackedStore(AdapterStore):
    """Adapters in shards; each writer has a folder of them.

    A document may be in several: the highest version of its adapter counts, and of two of one
    version, which two runs at once can leave, the first.

    Args:
        files: The store.
        manifest: Its manifest.
        lock: The right to write, in ``write`` mode.
        rank: Which writer this process is.

    Raises:
        ValueError: If a line of a journal is lost: it may be of any document, or of a newer adapter
            of any, so that nothing can be said for sure.
    """

    name = "packed"

    def __init__(
        self, files: StoreFiles, manifest: Manifest, lock: WriteLock | None = None, rank: int = 0
    ) -> None:
        super().__init__(files, manifest, lock, rank)
        self._codec = RowCodec(self.layout, manifest.dtype)
        self._own: ShardWriter | None = None
        if lock:
            self._own = ShardWriter(files, f"writer-{rank:05d}", self.folder, self._codec)
        self._writers = [
            self._own
            if self._own and name == self._own.folder
            else WriterFiles(files, name, self._codec)
            for name in writer_folders(files)
        ]
        if lost := [reason for writer in self._writers for reason in writer.lost]:
            self._abandon()
            raise lost_lines(lost[0])

    def documents(self) -> Iterator[StoredDocument]:
        """Yield all documents, sorted by their ids."""
        self._require_open()
        streams = [
            ((document_id, (writer, entry)) for document_id, entry in writer.entries())
            for writer in self._writers
        ]
        merged = heapq.merge(*streams, key=lambda item: item[0])
        for document_id, group in groupby(merged, key=lambda item: item[0]):
            writer, entry = max((place for _, place in group), key=_version)
            if entry.row is not None:
                yield _document(document_id, (writer, entry))

    def __len__(self) -> int:
        """Return the number of documents."""
        if len(self._writers) == 1 and self._writers[0].index and not self._writers[0].recent:
            return self._writers[0].index.num_documents
        return super().__len__()

    def find(self, document_ids: Sequence[str]) -> Mapping[str, StoredDocument]:
        """Return those of the documents that are stored."""
        self._require_open()
        newest: dict[str, _Place] = {}
        for writer in self._writers:
            for document_id, entry in writer.find(document_ids).items():
                known = newest.get(document_id)
                if known is None or entry.version > known[1].version:
                    newest[document_id] = (writer, entry)
        return {
            document_id: _document(document_id, place)
            for document_id, place in newest.items()
            if place[1].row is not None
        }

    @classmethod
    def check(cls, files: StoreFiles, manifest: Manifest) -> Iterator[Damage]:
        """Yield what is wrong: every adapter is read, every byte of every file accounted for."""
        return verify_packed(files, RowCodec(manifest.recipe.layout, manifest.dtype))

    @classmethod
    def repair(cls, files: StoreFiles, manifest: Manifest, lock: WriteLock) -> None:
        """Take out what is damaged or dead, free its room, and make the indexes anew."""
        repair_packed(files, RowCodec(manifest.recipe.layout, manifest.dtype))

    @classmethod
    def forecast(cls, recipe: Recipe, dtype: StoreDtype, num_documents: int) -> int:
        """Return the bytes that so many adapters will take on a disk, to a few per cent."""
        return num_documents * (RowCodec(recipe.layout, dtype).num_bytes + _NAMING_BYTES)

    def copy_plan(self) -> Iterator[CopiedFile]:
        """Yield the files: indexes, which must know nothing that the journals do not, first.

        Then the journals, whose lines must not come without their adapters; then the shards, which
        must not say that they hold more than the journals have lines of.
        """
        plan = {file.name for file in super().copy_plan()}
        shards = [name for name in plan if name.endswith(".safetensors")]
        # One without a journal has just been begun.
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
        """Return for each document a version above all that are stored; 0 for a new one."""
        versions = dict.fromkeys(document_ids, 0)
        for writer in self._writers:
            for document_id, entry in writer.find(document_ids).items():
                versions[document_id] = max(versions[document_id], entry.version + 1)
        return versions

    def _read(self, documents: Sequence[StoredDocument]) -> Tensor:
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

    def _finish(self) -> None:
        if self._own:
            self._own.finish()
        self._abandon()

    def _abandon(self) -> None:
        for writer in self._writers:
            writer.close()


def _version(place: _Place) -> int:
    return place[1].version


def _document(document_id: str, place: _Place) -> StoredDocument:
    entry = place[1]
    return StoredDocument(document_id, entry.text_digest, entry.stored, place)
