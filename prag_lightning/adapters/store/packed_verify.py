"""Checking all packed files of a store against each other."""

import heapq
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from itertools import groupby

from prag_lightning.adapters.files import StoreFiles
from prag_lightning.adapters.store.packed_check import ShardCheck
from prag_lightning.adapters.store.packed_index import Index, IndexDamagedError
from prag_lightning.adapters.store.packed_ledger import Ledger
from prag_lightning.adapters.store.packed_shards import (
    index_names,
    open_index,
    shard_name,
    shard_numbers,
    writer_folders,
)
from prag_lightning.adapters.store.records import Damage
from prag_lightning.adapters.store.rows import RowCodec

_ATTEMPTS = 3


def verify_packed(files: StoreFiles, codec: RowCodec) -> Iterator[Damage]:
    """Yield what is wrong in the packed files of a store.

    Args:
        files: The store.
        codec: Form of its adapters.
    """
    with closing(Ledger()) as ledger:
        yield from survey(files, codec, ledger)


def survey(files: StoreFiles, codec: RowCodec, ledger: Ledger) -> Iterator[Damage]:
    """Yield what is wrong, and note in the ledger what is right.

    Args:
        files: The store.
        codec: Form of its adapters.
        ledger: Empty before; ranked afterwards.
    """
    folders = writer_folders(files)
    indexes: dict[int, Index] = {}
    with ExitStack() as stack:
        for writer, folder in enumerate(folders):
            try:
                files.refuse_strangers(folder)
            except ValueError as error:
                yield Damage(None, folder, str(error))
                continue
            found, damages = _open_indexes(files, folder)
            yield from damages
            for index in found[:1]:
                indexes[writer] = stack.enter_context(closing(index))
            for shard in _shards(files, folder, indexes.get(writer)):
                check = ShardCheck(files, codec, folder, shard, indexes.get(writer))
                yield from check.damages()
                for line, whole, covered in check.found:
                    ledger.note(writer, shard, line, whole=whole, covered=covered)
        ledger.rank()
        for writer, index in indexes.items():
            yield from _differences(index, ledger, writer, folders[writer])
    yield from _dead_rows(folders, ledger)


def _shards(files: StoreFiles, folder: str, index: Index | None) -> list[int]:
    """Return the shards that must be there: their numbers have no gaps."""
    names = files.names(folder)
    numbers = shard_numbers(names, ".jsonl") | shard_numbers(names, ".safetensors")
    covered = {index.covered.shard} if index else set()
    return sorted({*range(max(numbers, default=-1) + 1), *covered})


def _open_indexes(files: StoreFiles, folder: str) -> tuple[list[Index], list[Damage]]:
    """Return the index that knows most, if one is whole, and what is wrong with the others."""
    for _ in range(_ATTEMPTS):
        found: list[Index] = []
        damages: list[Damage] = []
        try:
            for name in index_names(files, folder):
                try:
                    found.append(open_index(files, folder, name))
                except IndexDamagedError:
                    what = "is damaged; its adapters are not"
                    damages.append(Damage(None, f"{folder}/{name}", what))
        except FileNotFoundError:
            # A running writer has put a newer one in its place.
            continue
        found.sort(key=lambda index: index.covered, reverse=True)
        for old in found[1:]:
            old.close()
            what = "an old index that a process left behind"
            damages.append(Damage(None, f"{folder}/{old.file.name}", what, harmless=True))
        return found, damages
    return [], []


def _differences(index: Index, ledger: Ledger, writer: int, folder: str) -> Iterator[Damage]:
    """Report whether an index says something else than the journals."""
    merged = heapq.merge(index.entries(), ledger.index_entries(writer), key=lambda item: item[0])
    differing: list[str] = []
    try:
        for document_id, group in groupby(merged, key=lambda item: item[0]):
            said = [entry for _, entry in group]
            if len(said) != 2 or said[0] != said[1]:
                differing.append(document_id)
    except IndexDamagedError:
        yield Damage(None, f"{folder}/{index.file.name}", "is damaged; its adapters are not")
    if differing:
        what = f"says of {len(differing)} documents something else than the journals, which count"
        yield Damage(differing[0], f"{folder}/{index.file.name}", what)


def _dead_rows(folders: list[str], ledger: Ledger) -> Iterator[Damage]:
    """Report adapters that take room and do not count."""
    replaced: Counter[str] = Counter()
    for dead in ledger.dead_rows():
        file = shard_name(folders[dead.writer], dead.shard)
        if dead.is_copy:
            yield Damage(
                dead.document_id, file, "is stored twice; this copy does not count", harmless=True
            )
        else:
            replaced[file] += 1
    for file, count in replaced.items():
        yield Damage(None, file, f"adapters that were replaced or deleted: {count}", harmless=True)
