"""Adding adapters to packed shards so that they stay intact if the process is killed."""

import os
from collections.abc import Sequence
from pathlib import Path

from prag_lightning.adapters.files import StoreFiles
from prag_lightning.adapters.store.durable import (
    needs_room,
    open_plain,
    overwrite_start,
    write_at,
    write_synced,
)
from prag_lightning.adapters.store.journal import Line, is_intact, journal_line, read_line
from prag_lightning.adapters.store.packed_files import (
    HEADER_BYTES,
    journal_name,
    shard_header,
    shard_name,
)
from prag_lightning.adapters.store.packed_index import (
    Covered,
    Index,
    IndexDamagedError,
    keep_newest,
    write_index,
)
from prag_lightning.adapters.store.packed_shards import WriterFiles, entry_of
from prag_lightning.adapters.store.rows import RowCodec
from prag_lightning.documents.writing import sync_path

# Size at which a shard is closed.
SHARD_BYTES = 2**31
# Entries kept in memory, and read again at each opening, before they are added to the index.
FOLD_EVERY = 50_000


class ShardWriter(WriterFiles):
    """`WriterFiles` that can be written to.

    An adapter's bytes are written and flushed first, then its journal line is written and flushed.
    If the process dies in between, the bytes without a line are cut off at the next opening.

    Args:
        files: The store's files.
        folder: Name of the writer's folder.
        root: The store's folder on the local disk.
        codec: Encoding of the adapters.

    Raises:
        ValueError: If there is damage that further writing would hide.
    """

    def __init__(self, files: StoreFiles, folder: str, root: Path, codec: RowCodec) -> None:
        self._root = root
        self._descriptors: tuple[int, int] | None = None
        (root / folder).mkdir(exist_ok=True)
        sync_path(root)
        # Left by a process that was killed while writing an index.
        (root / folder / ".index.tmp").unlink(missing_ok=True)
        super().__init__(files, folder, codec)
        self._refuse_losses()
        if self.shards:
            self._cut_torn_tail()

    def add(self, lines: Sequence[Line], rows: memoryview) -> None:
        """Add adapters or deletions, with one flush for all of them.

        Args:
            lines: Description of each adapter, to which rows are assigned here; without a row, a
                deletion.
            rows: The bytes of the adapters, concatenated.

        Raises:
            StoreFullError: If the disk is full; none of them is stored then.
        """
        if not self._descriptors:
            self._open_shard()
        shard, row, num_bytes = self.end
        placed: list[Line] = []
        for line in lines:
            placed.append(line if line.row is None else line._replace(row=row))
            row += line.row is not None
        journal = b"".join(map(journal_line, placed))
        self._append(rows, journal)
        for line in placed:
            assert line.document_id is not None
            keep_newest(self.recent, line.document_id, entry_of(shard, line))
        self.end = Covered(shard, row, num_bytes + len(journal))
        if self._row_offset() >= SHARD_BYTES:
            self.seal()
        # An index is always rewritten as a whole, so a large one is rewritten less often.
        num_indexed = self.index.num_documents if self.index else 0
        if len(self.recent) >= max(FOLD_EVERY, num_indexed // 20):
            self.fold()

    def begin_shard(self) -> None:
        """Start a new shard with the next adapter."""
        self.seal()
        self._open_shard(another=True)

    def seal(self) -> None:
        """Make the open shard a valid safetensors file; it may still grow."""
        if self._descriptors:
            self._close_shard()
            self._write_header()

    def fold(self) -> None:
        """Add all entries to the index; rebuild it if it was damaged."""
        folder = self._root / self.folder
        if self.recent:
            try:
                file = write_index(
                    folder, self.index.file if self.index else None, self.recent, self.end
                )
            except (IndexDamagedError, FileNotFoundError):
                whole = WriterFiles(self.files, self.folder, self.codec, indexed=False)
                if whole.lost:
                    raise lost_lines(whole.lost[0]) from None
                file = write_index(folder, None, whole.recent, whole.end)
            with self._swapping:
                if self.index:
                    self.index.close()
                self.index, self.recent = Index(file), {}
        # Any other index file is outdated or damaged, and the journals contain everything.
        for other in folder.glob("index-*.sqlite"):
            if not self.index or other != self.index.file:
                other.unlink()

    def finish(self) -> None:
        """Seal the open shard and update the index."""
        self.seal()
        self.fold()

    def close(self) -> None:
        """Close the files without finishing them."""
        self._close_shard()
        super().close()

    def _close_shard(self) -> None:
        for descriptor in self._descriptors or ():
            os.close(descriptor)
        self._descriptors = None

    def _append(self, rows: memoryview, lines: bytes) -> None:
        assert self._descriptors is not None
        shard, journal = self._descriptors
        offset = self._row_offset()
        try:
            # Remove a line that an interrupted call may have written.
            os.ftruncate(journal, self.end.num_bytes)
            with needs_room(
                self._root / shard_name(self.folder, self.end.shard), len(rows) + len(lines)
            ):
                write_at(shard, rows, offset)
                os.fsync(shard)
                write_at(journal, memoryview(lines), self.end.num_bytes)
                os.fsync(journal)
        except BaseException:
            # Remove a partial line, so that the next one starts at a line boundary.
            os.ftruncate(journal, self.end.num_bytes)
            os.ftruncate(shard, offset)
            raise

    def _open_shard(self, another: bool = False) -> None:
        if another or not self.shards or self._row_offset() >= SHARD_BYTES:
            number = self.shards[-1] + 1 if self.shards else 0
            header = shard_header(self.codec, 0)
            with needs_room(self._root / shard_name(self.folder, number), len(header)):
                write_synced(self._root / shard_name(self.folder, number), header)
                write_synced(self._root / journal_name(self.folder, number), b"")
            sync_path(self._root / self.folder)
            self.shards.append(number)
            self.end = Covered(number)
        names = shard_name(self.folder, self.end.shard), journal_name(self.folder, self.end.shard)
        shard, journal = (open_plain(self._root / name, os.O_RDWR) for name in names)
        self._descriptors = shard, journal

    def _row_offset(self) -> int:
        return HEADER_BYTES + self.end.rows * self.codec.num_bytes

    def _cut_torn_tail(self) -> None:
        """Cut off what a killed process left after the last intact adapter, and seal the shard."""
        shard = self.end.shard
        journal = self._root / journal_name(self.folder, shard)
        path = self._root / shard_name(self.folder, shard)
        if not journal.exists():
            # A killed process had created the shard, but not yet its journal.
            write_synced(path, shard_header(self.codec, 0))
            write_synced(journal, b"")
        sealed_rows, _ = self._rows(shard_name(self.folder, shard))
        num_bytes = self._end_of_whole_lines(sealed_rows)
        if journal.stat().st_size > num_bytes:
            os.truncate(journal, num_bytes)
        if num_bytes < self.end.num_bytes:
            self._read_journals()
        if path.stat().st_size > self._row_offset() or self.end.rows > sealed_rows:
            self._write_header()

    def _end_of_whole_lines(self, sealed_rows: int) -> int:
        """Return the end of the last journal line whose adapter is intact."""
        shard, num_bytes = self.end.shard, self.end.num_bytes
        known = self.index.covered if self.index else Covered()
        start = known.num_bytes if known.shard == shard else 0
        tail: list[bytes] = []
        for content in self._new_lines(shard, start) or ():
            start += len(content) + 1
            if start <= num_bytes:
                tail.append(content)
        while tail and not self._is_whole(read_line(tail[-1]), sealed_rows):
            num_bytes -= len(tail.pop()) + 1
        return num_bytes

    def _is_whole(self, line: Line, sealed_rows: int) -> bool:
        """Return whether a line's adapter was completely written."""
        if line.row is None or line.row < sealed_rows:
            return True
        start = HEADER_BYTES + line.row * self.codec.num_bytes
        name = shard_name(self.folder, self.end.shard)
        return is_intact(line, self.files.read(name, start, start + self.codec.num_bytes))

    def _refuse_losses(self) -> None:
        """Refuse to write if that would hide lost or damaged data."""
        if self.lost:
            raise lost_lines(self.lost[0])
        journal = journal_name(self.folder, self.end.shard)
        held = self.files.size(journal) if self.files.exists(journal) else 0
        if held < self.end.num_bytes:
            raise lost_lines(
                f"{self.files.path(journal)}: has {held:,} bytes, but the index knows "
                f"{self.end.num_bytes:,}"
            )

    def _write_header(self) -> None:
        path = self._root / shard_name(self.folder, self.end.shard)
        overwrite_start(path, shard_header(self.codec, self.end.rows), self._row_offset())


def lost_lines(what: str) -> ValueError:
    """Return the error for lost lines, which also says how to continue."""
    return ValueError(
        f"{what}; run `prag store verify STORE --repair true`, and encode the lost documents again"
    )
