"""Adding adapters to packed shards so that a kill at any moment leaves whole ones only."""

import os
from collections.abc import Sequence
from pathlib import Path

from prag_lightning.adapters.files import StoreFiles
from prag_lightning.adapters.store.durable import (
    needs_room,
    overwrite_start,
    sync_folder,
    write_at,
    write_synced,
)
from prag_lightning.adapters.store.packed_index import (
    Covered,
    Entry,
    Index,
    Line,
    adapter_checksum,
    is_intact,
    journal_line,
    read_line,
    write_index,
)
from prag_lightning.adapters.store.packed_shards import (
    HEADER_BYTES,
    WriterFiles,
    journal_name,
    rows_in_header,
    shard_header,
    shard_name,
    shard_numbers,
    whole_lines,
)
from prag_lightning.adapters.store.rows import RowCodec

# A shard is closed when it has grown to this size.
SHARD_BYTES = 2**31
# Entries that are kept in memory, and read anew at each opening, before the index takes them in.
FOLD_EVERY = 50_000


class ShardWriter(WriterFiles):
    """`WriterFiles` that grow.

    The order makes it safe: the adapter's bytes, flush, its journal line, flush. A process that
    dies between leaves bytes without a line, which are cut off at the next opening.

    Args:
        files: The store.
        folder: Name of the writer's folder in it.
        root: The store's folder on this machine.
        codec: Form of the adapters.
    """

    def __init__(self, files: StoreFiles, folder: str, root: Path, codec: RowCodec) -> None:
        self._root = root
        self._codec = codec
        self._descriptors: tuple[int, int] | None = None
        (root / folder).mkdir(exist_ok=True)
        sync_folder(root)
        _sweep(root / folder)
        super().__init__(files, folder)
        self._refuse_lost_journals()
        if self.shards:
            self._cut_torn_tail(self.shards[-1])

    def add(
        self, document_ids: Sequence[str], rows: memoryview, text_digests: Sequence[str]
    ) -> None:
        """Add adapters, the bytes of one after another in ``rows``, with one flush for all.

        Raises:
            StoreFullError: If there is no room; none of them is stored then.
        """
        size = self._codec.num_bytes
        checksums = [
            adapter_checksum(document_id, digest, rows[i * size : (i + 1) * size])
            for i, (document_id, digest) in enumerate(zip(document_ids, text_digests, strict=True))
        ]
        if not self._descriptors:
            self._open_shard()
        shard, first, num_bytes = self.end
        numbers = range(first, first + len(checksums))
        lines = list(map(Line, numbers, document_ids, text_digests, checksums))
        journal = b"".join(map(journal_line, lines))
        self._append(rows, journal)
        for document_id, line in zip(document_ids, lines, strict=True):
            self.recent[document_id] = Entry(shard, line.row, line.text_digest, line.checksum)
        self.end = Covered(shard, numbers.stop, num_bytes + len(journal))
        if self._row_offset() >= SHARD_BYTES:
            self.seal()
        # An index is written anew as a whole, so a large one less often.
        num_indexed = self.index.num_entries if self.index else 0
        if len(self.recent) >= max(FOLD_EVERY, num_indexed // 20):
            self.fold()

    def seal(self) -> None:
        """Make the open shard a valid safetensors file; the next adapter may begin another."""
        if self._descriptors:
            for descriptor in self._descriptors:
                os.close(descriptor)
            self._descriptors = None
            self._write_header()

    def fold(self) -> None:
        """Take all entries into the index."""
        if self.recent:
            file = write_index(self._root / self.folder, self.index, self.recent, self.end)
            with self._swapping:
                if self.index:
                    self.index.close()
                self.index, self.recent = Index(file), {}

    def close(self) -> None:
        """Seal the open shard and bring the index up to date."""
        self.seal()
        self.fold()
        super().close()

    def _append(self, rows: memoryview, lines: bytes) -> None:
        assert self._descriptors is not None
        shard, journal = self._descriptors
        offset = self._row_offset()
        try:
            # A line may stand there that an interrupted call wrote.
            os.ftruncate(journal, self.end.num_bytes)
            with needs_room(
                self._root / shard_name(self.folder, self.end.shard), len(rows) + len(lines)
            ):
                write_at(shard, rows, offset)
                os.fsync(shard)
                write_at(journal, memoryview(lines), self.end.num_bytes)
                os.fsync(journal)
        except BaseException:
            # Half a line must not stand where the next one will begin.
            os.ftruncate(journal, self.end.num_bytes)
            os.ftruncate(shard, offset)
            raise

    def _open_shard(self) -> None:
        if not self.shards or self._row_offset() >= SHARD_BYTES:
            number = self.shards[-1] + 1 if self.shards else 0
            header = shard_header(self._codec, 0)
            with needs_room(self._root / shard_name(self.folder, number), len(header)):
                write_synced(self._root / shard_name(self.folder, number), header)
                write_synced(self._root / journal_name(self.folder, number), b"")
            sync_folder(self._root / self.folder)
            self.shards.append(number)
            self.end = Covered(number)
        names = shard_name(self.folder, self.end.shard), journal_name(self.folder, self.end.shard)
        shard, journal = (os.open(self._root / name, os.O_RDWR) for name in names)
        self._descriptors = shard, journal

    def _row_offset(self) -> int:
        return HEADER_BYTES + self.end.rows * self._codec.num_bytes

    def _refuse_lost_journals(self) -> None:
        """Refuse to write where the place of a shard that lost its journal would be taken."""
        lost = {self.index.covered.shard} if self.index else set()
        for shard in shard_numbers(self.files.names(self.folder), ".safetensors"):
            if self.files.size(shard_name(self.folder, shard)) > HEADER_BYTES:
                lost.add(shard)
        lost -= set(self.shards)
        if lost:
            raise _lost(self._root / journal_name(self.folder, min(lost)), "is missing")

    def _cut_torn_tail(self, shard: int) -> None:
        """Cut what a killed process left behind the last whole adapter, and seal the shard."""
        journal = self._root / journal_name(self.folder, shard)
        lines = whole_lines(journal.read_bytes())
        header = self.files.read(shard_name(self.folder, shard), stop=HEADER_BYTES)
        sealed_rows = rows_in_header(self._codec, header) or 0
        if len(lines) < max(sealed_rows, self.end.rows):
            expected = max(sealed_rows, self.end.rows)
            raise _lost(journal, f"holds {len(lines)} lines of {expected}")
        while len(lines) > sealed_rows and not self._is_whole(shard, lines[-1]):
            lines.pop()
        num_bytes = sum(len(line) + 1 for line in lines)
        self.end = Covered(shard, len(lines), num_bytes)
        self.recent = {
            document_id: entry
            for document_id, entry in self.recent.items()
            if entry.shard < shard or entry.row < len(lines)
        }
        os.truncate(journal, num_bytes)
        path = self._root / shard_name(self.folder, shard)
        if path.stat().st_size > self._row_offset():
            os.truncate(path, self._row_offset())
        if len(lines) > sealed_rows:
            self._write_header()

    def _is_whole(self, shard: int, content: bytes) -> bool:
        """Say whether a line, and its adapter, are as they were written."""
        try:
            line = read_line(content)
        except ValueError:
            return False
        start = HEADER_BYTES + line.row * self._codec.num_bytes
        name = shard_name(self.folder, shard)
        return is_intact(line, self.files.read(name, start, start + self._codec.num_bytes))

    def _write_header(self) -> None:
        path = self._root / shard_name(self.folder, self.end.shard)
        overwrite_start(path, shard_header(self._codec, self.end.rows))


def _sweep(folder: Path) -> None:
    """Delete what a process that was killed while it wrote an index left behind."""
    (folder / ".index.tmp").unlink(missing_ok=True)
    for superfluous in sorted(folder.glob("index-*.sqlite"))[1:]:
        superfluous.unlink()


def _lost(journal: Path, what: str) -> ValueError:
    return ValueError(
        f"{journal}: {what}; run `prag store verify STORE --repair true`, and encode the lost "
        "documents again"
    )
