"""Checking the packed files of a store against each other."""

import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from itertools import groupby, starmap
from operator import itemgetter

from prag_lightning.adapters.files import StoreFiles
from prag_lightning.adapters.store.packed_check import ShardCheck
from prag_lightning.adapters.store.packed_files import (
    index_names,
    journal_name,
    open_index,
    shard_name,
    shard_numbers,
    writer_folders,
)
from prag_lightning.adapters.store.packed_index import Entry, Index, IndexDamagedError, keep_newest
from prag_lightning.adapters.store.packed_ledger import Ledger, Note
from prag_lightning.adapters.store.records import Damage
from prag_lightning.adapters.store.rows import RowCodec

_ATTEMPTS = 3


def verify_packed(files: StoreFiles, codec: RowCodec) -> Iterator[Damage]:
    """Yield all damage in the packed files of a store.

    Args:
        files: The store's files.
        codec: Encoding of the adapters.
    """
    with closing(Ledger()) as ledger:
        yield from survey(files, codec, ledger)


def survey(files: StoreFiles, codec: RowCodec, ledger: Ledger) -> Iterator[Damage]:
    """Yield all damage, and add the intact lines to the ledger.

    Args:
        files: The store's files.
        codec: Encoding of the adapters.
        ledger: An empty ledger.
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
            shards = _shards(files, folder, indexes.get(writer))
            for shard in shards:
                is_last = shard == shards[-1]
                check = ShardCheck(files, codec, folder, shard, indexes.get(writer), is_last)
                yield from check.damages()
                ledger.note(writer, shard, check.found)
        yield from _Comparison(folders, indexes, ledger).damages()


def _shards(files: StoreFiles, folder: str, index: Index | None) -> list[int]:
    """Return the shards that must exist; their numbers have no gaps."""
    names = files.names(folder)
    numbers = shard_numbers(names, ".jsonl") | shard_numbers(names, ".safetensors")
    covered = {index.covered.shard} if index else set()
    return sorted({*range(max(numbers, default=-1) + 1), *covered})


def _open_indexes(files: StoreFiles, folder: str) -> tuple[list[Index], list[Damage]]:
    """Return the indexes that can be opened, the best one first, and the damage of the others."""
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
            # A running writer has replaced an index by a newer one.
            continue
        found.sort(key=lambda index: index.covered, reverse=True)
        for old in found[1:]:
            old.close()
            what = "an old index that a process left behind"
            damages.append(Damage(None, f"{folder}/{old.file.name}", what, harmless=True))
        return found, damages
    return [], []


class _Comparison:
    """Compares all lines about each document with each other and with the indexes."""

    def __init__(self, folders: Sequence[str], indexes: dict[int, Index], ledger: Ledger) -> None:
        self._folders, self._indexes, self._ledger = folders, indexes, ledger
        # Documents whose index entry differs from the journals, by writer.
        self._differing: dict[int, list[str]] = {writer: [] for writer in indexes}
        # Number of adapters per file that were replaced or deleted later.
        self._replaced: Counter[str] = Counter()

    def damages(self) -> Iterator[Damage]:
        """Yield disagreements, and strike out superseded lines in the ledger."""
        streams: list[Iterator[tuple[str, Note | tuple[int, Entry]]]]
        streams = [self._ledger.sorted_notes(), *starmap(_said, self._indexes.items())]
        merged = heapq.merge(*streams, key=itemgetter(0))
        for document_id, group in groupby(merged, key=itemgetter(0)):
            found: list[Note] = []
            entries: dict[int, Entry] = {}
            for _, item in group:
                if isinstance(item, Note):
                    found.append(item)
                else:
                    writer, entry = item
                    entries[writer] = entry
            yield from self._restore_deletions(document_id, found, entries)
            self._compare_indexes(document_id, found, entries)
            yield from self._strike_out(document_id, found)
        for file, count in self._replaced.items():
            what = f"adapters that were replaced or deleted: {count}"
            yield Damage(None, file, what, harmless=True)
        for writer, ids in self._differing.items():
            if ids:
                file = f"{self._folders[writer]}/{self._indexes[writer].file.name}"
                what = f"says of {len(ids)} documents something else than the journals, which count"
                yield Damage(ids[0], file, what)

    def _restore_deletions(
        self, document_id: str, notes: list[Note], entries: dict[int, Entry]
    ) -> Iterator[Damage]:
        """Add deletions that only an index records, so that the document does not reappear."""
        for writer, entry in entries.items():
            newest = max((note.entry.version for note in notes), default=-1)
            if entry.row is None and entry.version > newest:
                journal = journal_name(self._folders[writer], entry.shard)
                what = "holds no line of its deletion that can be read, but the index does"
                yield Damage(document_id, journal, what)
                notes.append(self._ledger.restore(writer, document_id, entry))

    def _compare_indexes(
        self, document_id: str, notes: list[Note], entries: dict[int, Entry]
    ) -> None:
        expected: dict[int, dict[str, Entry]] = {}
        for note in notes:
            if note.covered:
                keep_newest(expected.setdefault(note.writer, {}), document_id, note.entry)
        for writer in expected.keys() | entries.keys():
            if expected.get(writer, {}).get(document_id) != entries.get(writer):
                self._differing[writer].append(document_id)

    def _strike_out(self, document_id: str, notes: list[Note]) -> Iterator[Damage]:
        """Strike out all lines but the one that counts, and deletions that have no effect."""
        # The newest version first; among equal ones, an intact one, then the earliest.
        notes.sort(
            key=lambda note: (-note.entry.version, not note.whole, note.entry.stored, note.number)
        )
        if len(notes) == 1 and notes[0].entry.row is None:
            self._ledger.strike_out(notes[0])
        for note in notes[1:]:
            self._ledger.strike_out(note)
            if not note.whole or note.entry.row is None:
                continue
            file = shard_name(self._folders[note.writer], note.entry.shard)
            if note.entry.version == notes[0].entry.version:
                what = "is stored twice; this copy does not count"
                yield Damage(document_id, file, what, harmless=True)
            else:
                self._replaced[file] += 1


def _said(writer: int, index: Index) -> Iterator[tuple[str, tuple[int, Entry]]]:
    """Yield each document of an index with the writer and entry, sorted by id."""
    for document_id, entry in index.entries():
        yield document_id, (writer, entry)
