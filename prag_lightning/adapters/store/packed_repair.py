"""Removing damaged and unused adapters from packed files, and freeing their space."""

from contextlib import closing

from prag_lightning.adapters.files import StoreFiles
from prag_lightning.adapters.store.durable import needs_room, overwrite_start
from prag_lightning.adapters.store.journal import Line, journal_line
from prag_lightning.adapters.store.packed_files import (
    HEADER_BYTES,
    journal_name,
    shard_header,
    shard_name,
    shard_numbers,
    writer_folders,
)
from prag_lightning.adapters.store.packed_ledger import Ledger
from prag_lightning.adapters.store.packed_verify import survey
from prag_lightning.adapters.store.packed_writer import ShardWriter
from prag_lightning.adapters.store.rows import RowCodec
from prag_lightning.documents.writing import write_whole

# Bytes of adapters to move at once.
_MOVE_BYTES = 2**26


def repair_packed(files: StoreFiles, codec: RowCodec) -> None:
    """Remove damaged and unused adapters from the journals, and rebuild the indexes.

    The next run encodes the damaged documents again. If the process dies at any moment, the store
    remains readable and can be repaired again.

    Args:
        files: The store's files, locked and on the local disk.
        codec: Encoding of the adapters.

    Raises:
        ValueError: If the store contains a pickle or a link.
        StoreFullError: If there is no room to move adapters; the damage is removed nevertheless.
    """
    folders = writer_folders(files)
    for folder in folders:
        files.refuse_strangers(folder)
    with closing(Ledger()) as ledger:
        damages = list(survey(files, codec, ledger))
        touched = {damage.file for damage in damages}
        hurt = {damage.file for damage in damages if not damage.harmless}
        for writer, folder in enumerate(folders):
            if any(file.startswith(f"{folder}/") for file in touched):
                shards = _shards(folder, touched)
                kept = {shard: ledger.kept_lines(writer, shard) for shard in shards}
                _FolderRepair(files, codec, folder).run(kept, _shards(folder, hurt))


def _shards(folder: str, touched: set[str]) -> list[int]:
    """Return the shards of a folder that are among the files, or whose journals are."""
    names = {name.removeprefix(f"{folder}/") for name in touched if name.startswith(f"{folder}/")}
    return sorted(shard_numbers(names, ".jsonl") | shard_numbers(names, ".safetensors"))


class _FolderRepair:
    """Repairs the shards of one writer."""

    def __init__(self, files: StoreFiles, codec: RowCodec, folder: str) -> None:
        assert files.local is not None
        self._files, self._codec, self._folder, self._root = files, codec, folder, files.local

    def run(self, kept: dict[int, list[Line]], hurt: list[int]) -> None:
        """Reduce shards to the given lines and their adapters, without gaps.

        Args:
            kept: The lines to keep, by shard.
            hurt: Shards whose journals may lack some of these lines.
        """
        # Before the indexes are dropped, because these may contain lines that the journals lack.
        for shard in hurt:
            self._rewrite(shard, kept[shard])
        self._drop_indexes()
        for shard in kept.keys() - set(hurt):
            self._rewrite(shard, kept[shard])
        gaps = {shard: lines for shard, lines in kept.items() if _has_gaps(lines)}
        self._move(gaps)
        # Moving may have written an index that refers to the emptied shards.
        self._drop_indexes()
        for shard, lines in gaps.items():
            self._empty(shard, _num_rows(lines))
        with closing(self._writer()) as writer:
            writer.finish()

    def _rewrite(self, shard: int, lines: list[Line]) -> None:
        """Mark all other rows as removed; the header is written first, so that it covers them."""
        num_rows = _num_rows(lines)
        by_row = {line.row: line for line in lines}
        rows = [by_row.get(row, Line(row)) for row in range(num_rows)]
        self._write_header(shard, num_rows)
        self._write_journal(shard, [*rows, *(line for line in lines if line.row is None)])

    def _move(self, kept: dict[int, list[Line]]) -> None:
        """Copy adapters to a new shard. Until the old ones are removed, the old ones count."""
        if not kept:
            return
        size = self._codec.num_bytes
        at_once = max(1, _MOVE_BYTES // size)
        with closing(self._writer()) as writer:
            writer.begin_shard()
            for shard, lines in kept.items():
                name = shard_name(self._folder, shard)
                for first in range(0, len(lines), at_once):
                    chunk = lines[first : first + at_once]
                    starts = [
                        HEADER_BYTES + line.row * size for line in chunk if line.row is not None
                    ]
                    parts = self._files.read_ranges([(name, at, at + size) for at in starts])
                    writer.add(chunk, memoryview(b"".join(parts)))
            writer.seal()

    def _empty(self, shard: int, num_rows: int) -> None:
        """Free a shard's space after its adapters were moved; its number stays in use."""
        self._write_journal(shard, [Line(row) for row in range(num_rows)])
        self._write_header(shard, 0)
        self._write_journal(shard, [])

    def _write_journal(self, shard: int, lines: list[Line]) -> None:
        path = self._root / journal_name(self._folder, shard)
        content = b"".join(map(journal_line, lines))
        with needs_room(path, len(content)):
            write_whole(path, content)

    def _write_header(self, shard: int, num_rows: int) -> None:
        path = self._root / shard_name(self._folder, shard)
        length = HEADER_BYTES + num_rows * self._codec.num_bytes
        overwrite_start(path, shard_header(self._codec, num_rows), length)

    def _drop_indexes(self) -> None:
        for file in (self._root / self._folder).glob("index-*.sqlite"):
            file.unlink()

    def _writer(self) -> ShardWriter:
        return ShardWriter(self._files, self._folder, self._root, self._codec)


def _num_rows(lines: list[Line]) -> int:
    """Return the number of rows that these lines require."""
    return max((line.row + 1 for line in lines if line.row is not None), default=0)


def _has_gaps(lines: list[Line]) -> bool:
    return _num_rows(lines) > sum(line.row is not None for line in lines)
