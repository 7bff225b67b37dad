"""Checking every byte of one packed shard and its journal."""

from collections.abc import Iterator

from prag_lightning.adapters.files import StoreFiles
from prag_lightning.adapters.store.journal import Line, is_intact, read_line, read_lines
from prag_lightning.adapters.store.packed_files import (
    HEADER_BYTES,
    journal_name,
    rows_in_header,
    shard_name,
)
from prag_lightning.adapters.store.packed_index import Covered, Index
from prag_lightning.adapters.store.packed_ledger import FoundLine
from prag_lightning.adapters.store.records import Damage
from prag_lightning.adapters.store.rows import RowCodec

# Bytes of a shard to read at once.
_READ_BYTES = 2**26


class ShardCheck:
    """Damage in a shard and its journal, and the journal lines that can be trusted.

    Args:
        files: The store's files.
        codec: Encoding of the adapters.
        folder: Name of the writer's folder.
        shard: Number of the shard.
        index: The writer's index, which may contain lines that the journal has lost.
        is_last: Whether this is the writer's last shard, which may have only just been started.

    Attributes:
        found: The lines about documents; complete after `damages` is exhausted.
    """

    def __init__(
        self,
        files: StoreFiles,
        codec: RowCodec,
        folder: str,
        shard: int,
        index: Index | None,
        is_last: bool,
    ) -> None:
        self._files, self._codec, self._shard = files, codec, shard
        self._index, self._is_last = index, is_last
        self._name, self._journal = shard_name(folder, shard), journal_name(folder, shard)
        self._covered = index.covered if index else Covered(-1)
        self.found: list[FoundLine] = []
        # Lines of rows that have not been checked yet, and whether the index covers them.
        self._by_row: dict[int, list[tuple[Line, bool]]] = {}
        self._num_unreadable = 0
        self._num_without_line = 0

    def damages(self) -> Iterator[Damage]:
        """Yield the damage, and collect the intact lines."""
        # The journal is checked last, because a running writer creates it before it adds a row.
        size = self._files.size(self._name) if self._files.exists(self._name) else 0
        missing = [name for name in (self._name, self._journal) if not self._files.exists(name)]
        if self._is_last and missing == [self._journal]:
            # A killed process had created the shard, but not yet its journal.
            if size <= HEADER_BYTES:
                return
            if not self._files.local:
                what = "was uploaded by a process that was killed before it was in the store"
                yield Damage(None, self._name, what, harmless=True)
                return
        yield from (Damage(None, name, "is missing") for name in missing)
        # Read before the journal, because a running writer adds a row before its journal line.
        header = self._files.read(self._name, stop=HEADER_BYTES) if size else b""
        sealed_rows = rows_in_header(self._codec, header)
        if header and sealed_rows is None:
            yield Damage(None, self._name, "its header is damaged")
        if self._journal not in missing:
            yield from self._read_journal()
        # Read again, because the shard may have grown.
        held = self._files.size(self._name) - HEADER_BYTES if size else 0
        held = max(0, held // self._codec.num_bytes)
        last_row = max(self._by_row, default=-1)
        claimed = max(held if sealed_rows is None else sealed_rows, self._covered_rows)
        num_rows = min(held, max(claimed, last_row + 1))
        yield from self._check_rows(num_rows)
        yield from self._check_beyond(num_rows, claimed)
        surplus = size - HEADER_BYTES - max(claimed, last_row + 1) * self._codec.num_bytes
        if surplus > 0:
            yield Damage(
                None, self._name, f"{surplus} bytes behind its last adapter", harmless=True
            )
        if self._num_unreadable > self._num_without_line:
            count = self._num_unreadable - self._num_without_line
            yield Damage(None, self._journal, f"lines that cannot be read: {count}")

    @property
    def _covered_rows(self) -> int:
        return self._covered.rows if self._covered.shard == self._shard else 0

    def _read_journal(self) -> Iterator[Damage]:
        size = self._files.size(self._journal)
        num_bytes, num_taken_out = 0, 0
        rows: list[int] = []
        for content in read_lines(self._files, self._journal):
            num_bytes += len(content) + 1
            place = Covered(self._shard, 0, num_bytes)
            known = (place.shard, place.num_bytes) <= (self._covered.shard, self._covered.num_bytes)
            try:
                line = read_line(content)
            except ValueError:
                self._num_unreadable += 1
                continue
            if line.row is None:
                self.found.append(FoundLine(line, True, known))
            else:
                rows.append(line.row)
                num_taken_out += line.document_id is None
                self._by_row.setdefault(line.row, []).append((line, known))
        if size > num_bytes:
            what = f"ends in {size - num_bytes} bytes of a line that was being written"
            yield Damage(None, self._journal, what, harmless=True)
        if num_taken_out:
            what = f"adapters that a repair took out: {num_taken_out}"
            yield Damage(None, self._name, what, harmless=True)
        if rows != sorted(rows):
            yield Damage(
                None, self._journal, "its lines are not in the order of its rows", harmless=True
            )

    def _check_rows(self, num_rows: int) -> Iterator[Damage]:
        """Compare the rows in the shard with their lines."""
        size = self._codec.num_bytes
        at_once = max(1, _READ_BYTES // size)
        known: dict[int, tuple[str, Line]] | None = None
        for first in range(0, num_rows, at_once):
            rows = range(first, min(first + at_once, num_rows))
            start, stop = (HEADER_BYTES + row * size for row in (rows.start, rows.stop))
            data = memoryview(self._files.read(self._name, start, stop))
            for row in rows:
                adapter = data[(row - first) * size : (row - first + 1) * size]
                if row in self._by_row:
                    yield from self._check_lines(row, adapter)
                    continue
                known = self._lines_in_index() if known is None else known
                yield self._without_line(row, adapter, known.get(row))

    def _check_lines(self, row: int, adapter: memoryview) -> Iterator[Damage]:
        for line, known in self._by_row.pop(row):
            whole = is_intact(line, adapter)
            if not whole:
                yield Damage(line.document_id, self._name, f"adapter {row} is damaged")
            if line.document_id is not None:
                self.found.append(FoundLine(line, whole, known))

    def _without_line(
        self, row: int, adapter: memoryview, known: tuple[str, Line] | None
    ) -> Damage:
        self._num_without_line += 1
        document_id, line = known or (None, Line(row))
        what = f"holds no line of adapter {row} that can be read"
        if known and is_intact(line, adapter):
            self.found.append(FoundLine(line, True, True))
            what += ", but the index does"
        return Damage(document_id, self._journal, what)

    def _check_beyond(self, num_rows: int, claimed: int) -> Iterator[Damage]:
        """Report adapters that are missing from the end of the shard."""
        beyond = {row: lines for row, lines in self._by_row.items() if row >= num_rows}
        if claimed > max([num_rows - 1, *beyond]) + 1:
            for row, (_, line) in self._lines_in_index().items():
                if row >= num_rows:
                    beyond.setdefault(row, [(line, True)])
        for row, lines in sorted(beyond.items()):
            for line, known in lines:
                if line.document_id is not None:
                    yield Damage(line.document_id, self._name, f"adapter {row} is cut off")
                    self.found.append(FoundLine(line, False, known))
        num_lost = claimed - max([num_rows - 1, *beyond]) - 1
        if num_lost > 0:
            self._num_without_line += num_lost
            yield Damage(None, self._journal, f"holds no lines of its last {num_lost} adapters")

    def _lines_in_index(self) -> dict[int, tuple[str, Line]]:
        """Return the index's documents and lines of this shard by row."""
        found = self._index.in_shard(self._shard) if self._index else {}
        return {
            row: (name, Line(row, name, e.text_digest, e.checksum, e.version, e.stored))
            for row, (name, e) in found.items()
        }
