"""Checking packed files to the last byte, and taking out what is damaged."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from prag_lightning.adapters.durable import overwrite_start, write_whole
from prag_lightning.adapters.files import PICKLE_SUFFIXES, StoreFiles
from prag_lightning.adapters.packed_index import (
    Index,
    adapter_checksum,
    index_name,
    read_line,
)
from prag_lightning.adapters.packed_shards import (
    HEADER_BYTES,
    journal_name,
    open_index,
    rows_in_header,
    shard_header,
    shard_name,
    whole_lines,
    writer_folders,
)
from prag_lightning.adapters.packed_writer import ShardWriter
from prag_lightning.adapters.recipe import Manifest
from prag_lightning.adapters.rows import RowCodec
from prag_lightning.adapters.store_base import Damage

# Bytes of a shard that are read at once.
_READ_BYTES = 2**26


@dataclass
class ShardReport:
    """What a check of one shard and its journal found."""

    lines: list[bytes]
    bad_rows: set[int] = field(default_factory=set)
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
        index, damages = _check_index(files, folder)
        reports = {
            shard: _check_shard(files, codec, folder, shard, index)
            for shard in _shards(files, folder, index)
        }
        if index:
            index.close()
        damaged = {shard: report for shard, report in reports.items() if report.damages}
        if damages or damaged:
            for file in (root / folder).glob("index-*.sqlite"):
                file.unlink()
        for shard, report in damaged.items():
            _rewrite(root / folder, shard, report, codec)
        # Makes a new index.
        ShardWriter(files, folder, root, codec).close()


def _shards(files: StoreFiles, folder: str, index: Index | None) -> range:
    """Return the shards that must be there: their numbers have no gaps."""
    numbers = [
        int(name.partition(".")[0])
        for name in files.names(folder)
        if name.endswith((".jsonl", ".safetensors"))
    ]
    return range(max([*numbers, index.covered.shard if index else -1], default=-1) + 1)


def _check_index(files: StoreFiles, folder: str) -> tuple[Index | None, list[Damage]]:
    """Return the index if its bytes are those that its name says, and else what is wrong."""
    damages: list[Damage] = []
    index: Index | None = None
    for name in files.names(folder):
        if name.startswith("index-"):
            file = f"{folder}/{name}"
            content = files.read(file)
            if index_name(hashlib.sha256(content).hexdigest()) == name:
                index = index or open_index(files, folder)
            else:
                damages.append(Damage(None, file, "is damaged; its adapters are not"))
    return index, damages


def _check_shard(
    files: StoreFiles, codec: RowCodec, folder: str, shard: int, index: Index | None
) -> ShardReport:
    """Check a shard's header, its journal's lines, and every adapter."""
    name, journal = shard_name(folder, shard), journal_name(folder, shard)
    lines = whole_lines(files.read(journal)) if files.exists(journal) else []
    report = ShardReport(lines)
    if _has_just_begun(files, name, journal):
        return report
    report.damages += [
        Damage(None, file, "is missing") for file in (name, journal) if not files.exists(file)
    ]
    header = files.read(name, stop=HEADER_BYTES) if files.exists(name) else b""
    sealed_rows = rows_in_header(codec, header)
    if header and sealed_rows is None:
        report.damages.append(Damage(None, name, "its header is damaged"))
    covered = index.covered.lines if index and index.covered.shard == shard else 0
    expected = max(sealed_rows or 0, covered)
    if len(lines) < expected:
        what = f"ends after line {len(lines)} of {expected}"
        report.damages.append(Damage(None, journal, what))
    per_read = max(1, _READ_BYTES // codec.num_bytes)
    for first in range(0, len(lines), per_read):
        stop = min(first + per_read, len(lines))
        start, end = (HEADER_BYTES + row * codec.num_bytes for row in (first, stop))
        data = memoryview(files.read(name, start, end) if header else b"")
        for row in range(first, stop):
            begin = (row - first) * codec.num_bytes
            _check_row(report, (folder, shard, row), data[begin : begin + codec.num_bytes], index)
    return report


def _has_just_begun(files: StoreFiles, name: str, journal: str) -> bool:
    """Say whether a process died when it had made a shard, but not yet its journal."""
    return files.exists(name) and not files.exists(journal) and files.size(name) <= HEADER_BYTES


def _check_row(
    report: ShardReport, place: tuple[str, int, int], data: memoryview, index: Index | None
) -> None:
    """Check one adapter, and the line that names it."""
    folder, shard, row = place
    try:
        named = read_line(report.lines[row], shard, row)
    except ValueError:
        document_id = index.id_at(shard, row) if index else None
        what = f"line {row + 1} is damaged"
        report.damages.append(Damage(document_id, journal_name(folder, shard), what))
        report.bad_rows.add(row)
        return
    if named and adapter_checksum(named[0], named[1].text_digest, data) != named[1].checksum:
        what = f"adapter {row} is damaged"
        report.damages.append(Damage(named[0], shard_name(folder, shard), what))
        report.bad_rows.add(row)


def _rewrite(folder: Path, shard: int, report: ShardReport, codec: RowCodec) -> None:
    """Put ``null`` in place of the damaged lines, and make the shard as long as its journal."""
    lines = [b"null" if row in report.bad_rows else line for row, line in enumerate(report.lines)]
    write_whole(folder / f"{shard:06d}.jsonl", b"".join(line + b"\n" for line in lines))
    shard_file = folder / f"{shard:06d}.safetensors"
    overwrite_start(shard_file, shard_header(codec, len(lines)))
    os.truncate(shard_file, HEADER_BYTES + len(lines) * codec.num_bytes)
