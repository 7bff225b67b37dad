"""The packed layout of a store: many documents in few files, for millions of them."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from prag_lightning.adapters.files import StoreFiles
from prag_lightning.adapters.store.base import AdapterStore, Damage, WriteLock
from prag_lightning.adapters.store.packed_index import Entry, adapter_checksum
from prag_lightning.adapters.store.packed_shards import (
    HEADER_BYTES,
    WriterFiles,
    shard_name,
    writer_folders,
)
from prag_lightning.adapters.store.packed_verify import repair_packed, verify_packed
from prag_lightning.adapters.store.packed_writer import ShardWriter
from prag_lightning.adapters.store.recipe import Manifest
from prag_lightning.adapters.store.rows import RowCodec


class PackedStore(AdapterStore):
    """Adapters in shards; each writer has a folder of them.

    Args:
        files: The store.
        manifest: Its manifest.
        lock: The right to write, in ``write`` mode.
        rank: Which writer this process is.
    """

    def __init__(
        self, files: StoreFiles, manifest: Manifest, lock: WriteLock | None = None, rank: int = 0
    ) -> None:
        super().__init__(files, manifest, lock)
        self._codec = RowCodec(self.layout, manifest.dtype)
        self._own: ShardWriter | None = None
        if lock and files.local:
            self._own = ShardWriter(files, f"writer-{rank:05d}", files.local, self._codec)
        self._writers = [
            self._own if self._own and name == self._own.folder else WriterFiles(files, name)
            for name in writer_folders(files)
        ]

    def ids(self) -> Iterator[str]:
        """Yield the ids of all documents."""
        for writer in self._writers:
            yield from writer.ids()

    def __len__(self) -> int:
        """Return the number of documents."""
        return sum(writer.num_documents for writer in self._writers)

    @staticmethod
    def repair(files: StoreFiles, folder: Path, manifest: Manifest) -> None:
        """Take out what is damaged, so that the next run encodes it again."""
        repair_packed(files, folder, manifest)

    @staticmethod
    def _check(files: StoreFiles, manifest: Manifest) -> Iterator[Damage]:
        return verify_packed(files, manifest)

    def _add(self, document_ids: Sequence[str], rows: Tensor, text_digests: Sequence[str]) -> None:
        assert self._own is not None
        self._own.add(document_ids, self._codec.encode(rows), text_digests)

    def _read(self, document_ids: Sequence[str]) -> Tensor:
        entries = self._find(document_ids)
        if len(entries) < len(set(document_ids)):
            raise self._missing(document_ids, entries)
        size = self._codec.num_bytes
        ranges: list[tuple[str, int, int]] = []
        for document_id in document_ids:
            writer, entry = entries[document_id]
            start = HEADER_BYTES + entry.row * size
            ranges.append((shard_name(writer.folder, entry.shard), start, start + size))
        rows: list[Tensor] = []
        for document_id, (name, _, _), data in zip(
            document_ids, ranges, self.files.read_ranges(ranges), strict=True
        ):
            entry = entries[document_id][1]
            if adapter_checksum(document_id, entry.text_digest, data) != entry.checksum:
                raise ValueError(
                    f"{self.files.path(name)}: the adapter of document {document_id!r} is damaged; "
                    "run `prag store verify STORE --repair true`, and encode it again"
                )
            rows.append(self._codec.decode(data))
        return torch.stack(rows)

    def _text_digests(self, document_ids: Sequence[str]) -> Mapping[str, str]:
        return {i: entry.text_digest for i, (_, entry) in self._find(document_ids).items()}

    def _finish(self) -> None:
        for writer in self._writers:
            writer.close()

    def _find(self, document_ids: Sequence[str]) -> dict[str, tuple[WriterFiles, Entry]]:
        found: dict[str, tuple[WriterFiles, Entry]] = {}
        for writer in self._writers:
            left = [i for i in document_ids if i not in found] if found else document_ids
            found.update({i: (writer, entry) for i, entry in writer.find(left).items()})
        return found
