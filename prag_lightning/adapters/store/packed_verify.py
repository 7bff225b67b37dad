"""Checking packed files to the last byte, and taking out what is damaged."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from prag_lightning.adapters.files import PICKLE_SUFFIXES, StoreFiles
from prag_lightning.adapters.store.base import Damage
from prag_lightning.adapters.store.durable import overwrite_start, write_whole
from prag_lightning.adapters.store.packed_index import (
    Index,
    Line,
    index_name,
    is_intact,
    journal_line,
    read_line,
)
from prag_lightning.adapters.store.packed_shards import (
    HEADER_BYTES,
    index_names,
    journal_name,
    open_index,
    rows_in_header,
    shard_header,
    shard_name,
    shard_numbers,
    whole_lines,
    writer_folders,
)
from prag_lightning.adapters.store.packed_writer import ShardWriter
from prag_lightning.adapters.store.recipe import Manifest
from prag_lightning.adapters.store.rows import RowCodec

# Bytes of a shard that are read at once.
_READ_BYTES = 2**26


@dataclass
class ShardReport:
    """What a check of one shard and its journal found: good lines by row, and damage."""

    num_rows: int = 0
    lines: dict[int, bytes] = field(default_factory=dict)
    damages: list[Damage] = field(default_factory=list)


def verify_packed(files: StoreFiles, manifest: Manifest) -> Iterator[Damage]:
    """Yield what is wrong in the packed files of a store."""
    codec = RowCodec(manifest.recipe.layout, manifest.dtype)
    for folder in writer_folders(files):
        for name in files.names(folder):
            if name.endswith(PICKLE_SUFFIXES):
                yield Damage(None, f"{folder}/{name}", "a pickle; delete it")
        index, damages = _check_index(files, folder)
        yield from damages
        for shard in _shards(files, folder, index):
            yield from _check_shard(files, codec, folder, shard, index).damages


def repair_packed(files: StoreFiles, root: Path, manifest: Manifest) -> None:
    """Take damaged adapters out of the journals, mend the headers, and drop damaged indexes.

    What was taken out is no longer in the store, so that the next run encodes it again.
    """
    codec = RowCodec(manifest.recipe.layout, manifest.dtype)
    for folder in writer_folders(files):
        index, _ = _check_index(files, folder)
        for file in (root / folder).glob("index-*.sqlite"):
            file.unlink()
        for shard in _shards(files, folder, index):
            report = _check_shard(files, codec, folder, shard, index)
            if report.damages:
                _rewrite(root / folder, shard, report, codec)
        if index:
            index.close()
        # Makes a new index.
        ShardWriter(files, folder, root, codec).close()


def _shards(files: StoreFiles, folder: str, index: Index | None) -> range:
    """Return the shards that must be there: their numbers have no gaps."""
    names = files.names(folder)
    numbers = shard_numbers(names, ".jsonl") | shard_numbers(names, ".safetensors")
    return range(max([*numbers, index.covered.shard if index else -1]) + 1)


def _check_index(files: StoreFiles, folder: str) -> tuple[Index | None, list[Damage]]:
    """Return the index if its bytes are those that its name says, and else what is wrong."""
    damages: list[Damage] = []
    index: Index | None = None
    for name in index_names(files, folder):
        content = files.read(f"{folder}/{name}")
        if index_name(hashlib.sha256(content).hexdigest()) == name:
            index = index or open_index(files, folder)
        else:
            what = "is damaged; its adapters are not"
            damages.append(Damage(None, f"{folder}/{name}", what))
    return index, damages


def _check_shard(
    files: StoreFiles, codec: RowCodec, folder: str, shard: int, index: Index | None
) -> ShardReport:
    """Check a shard's header, its journal's lines, and every adapter."""
    name, journal = shard_name(folder, shard), journal_name(folder, shard)
    report = ShardReport()
    if _has_just_begun(files, name, journal):
        return report
    missing = [file for file in (name, journal) if not files.exists(file)]
    report.damages += [Damage(None, file, "is missing") for file in missing]
    header = b"" if name in missing else files.read(name, stop=HEADER_BYTES)
    contents = [] if journal in missing else whole_lines(files.read(journal))
    sealed_rows = rows_in_header(codec, header)
    if header and sealed_rows is None:
        report.damages.append(Damage(None, name, "its header is damaged"))
    covered = index.covered.rows if index and index.covered.shard == shard else 0
    report.num_rows = max(sealed_rows or 0, covered, len(contents))
    lines = _by_row(contents, report.num_rows)
    per_read = max(1, _READ_BYTES // codec.num_bytes)
    for first in range(0, report.num_rows, per_read):
        rows = range(first, min(first + per_read, report.num_rows))
        start, stop = (HEADER_BYTES + row * codec.num_bytes for row in (rows.start, rows.stop))
        data = memoryview(b"" if name in missing else files.read(name, start, stop))
        for row in rows:
            begin = (row - first) * codec.num_bytes
            adapter = data[begin : begin + codec.num_bytes]
            for line in lines.get(row, []):
                if is_intact(line, adapter):
                    report.lines[row] = journal_line(line)
                else:
                    what = f"adapter {row} is damaged"
                    report.damages.append(Damage(line.document_id, name, what))
    names = index.ids_in(shard) if index and len(lines) < report.num_rows else {}
    report.damages += [
        Damage(names.get(row), journal, f"holds no line of adapter {row} that can be read")
        for row in range(report.num_rows)
        if row not in lines
    ]
    return report


def _by_row(contents: list[bytes], num_rows: int) -> dict[int, list[Line]]:
    """Return the lines that can be read by their row; more than one only if one is damaged."""
    lines: dict[int, list[Line]] = {}
    for content in contents:
        try:
            line = read_line(content)
        except ValueError:
            continue
        if 0 <= line.row < num_rows:
            lines.setdefault(line.row, []).append(line)
    return lines


def _has_just_begun(files: StoreFiles, name: str, journal: str) -> bool:
    """Say whether a process died when it had made a shard, but not yet its journal."""
    return files.exists(name) and not files.exists(journal) and files.size(name) <= HEADER_BYTES


def _rewrite(folder: Path, shard: int, report: ShardReport, codec: RowCodec) -> None:
    """Keep the good lines, and say of all other rows that they were taken out."""
    rows = range(report.num_rows)
    lines = [report.lines.get(row) or journal_line(Line(row)) for row in rows]
    write_whole(folder / f"{shard:06d}.jsonl", b"".join(lines))
    shard_file = folder / f"{shard:06d}.safetensors"
    overwrite_start(shard_file, shard_header(codec, report.num_rows))
    os.truncate(shard_file, HEADER_BYTES + report.num_rows * codec.num_bytes)
