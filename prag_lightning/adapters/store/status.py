"""How far a store is filled, by which writers, and how fast."""

import time
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from prag_lightning.adapters.files import StoreFiles
from prag_lightning.adapters.store.base import AdapterStore

# The speed is that of the last minutes with a document.
_WINDOW = 600
WriterState = Literal["writing", "done", "dead"]


@dataclass(frozen=True)
class WriterStatus:
    """A writer of a store.

    Args:
        number: Its number; also that of its files.
        host: Host of the process that wrote last.
        pid: Id of that process.
        state: ``writing``, ``done`` if it has closed the store, or ``dead``.
        since: When it opened the store, in seconds since 1970; 0 if unknown.
        last_write: When it stored its last document; None if that is not known.
        num_documents: How many of the store's documents it has stored; None if that is not known.
        num_claimed: How many documents it has claimed and not stored yet.
    """

    number: int
    host: str
    pid: int
    state: WriterState
    since: int
    last_write: int | None
    num_documents: int | None
    num_claimed: int


@dataclass(frozen=True)
class StoreStatus:
    """State of a store.

    Args:
        num_documents: Number of documents.
        last_write: When the last document was stored, in seconds since 1970; None if unknown.
        documents_per_minute: Over the ten minutes up to now, or to the last document if no writer
            is alive; None without documents.
        writers: The writers, by number.
    """

    num_documents: int
    last_write: int | None
    documents_per_minute: float | None
    writers: list[WriterStatus]


def store_status(store: AdapterStore) -> StoreStatus:
    """Return the state of a store that is open for reading; others may be writing.

    Args:
        store: The store.
    """
    times = array("q")
    by_writer: dict[int, tuple[int, int]] = {}
    for document in store.documents():
        times.append(document.stored)
        if document.writer is not None:
            count, last = by_writer.get(document.writer, (0, 0))
            by_writer[document.writer] = count + 1, max(last, document.stored)
    find = _writers if store.files.local else _leases
    writers = list(find(store.files, by_writer))
    last_write = max(times, default=0)
    end = int(time.time()) if any(writer.state == "writing" for writer in writers) else last_write
    return StoreStatus(len(times), last_write or None, _speed(times, end), writers)


def _speed(times: Sequence[int], end: int) -> float | None:
    """Return the documents a minute that were stored in the minutes before ``end``."""
    start = max(end - _WINDOW, min((time for time in times if time), default=end))
    if start == end:
        return None
    return sum(start < time <= end for time in times) / (end - start) * 60


_ByWriter = Mapping[int, tuple[int, int]]


def _writers(files: StoreFiles, by_writer: _ByWriter) -> Iterator[WriterStatus]:
    """Yield the writers of a store on a disk."""
    # Imported here because locks need POSIX, which reading does not.
    from prag_lightning.adapters.store.claims import read_claims
    from prag_lightning.adapters.store.lock import writer_numbers
    from prag_lightning.adapters.store.lock_file import is_held, read_holder, writer_lock_file

    assert files.local is not None
    claims = read_claims(files.local)
    for number in sorted({*writer_numbers(files.local), *by_writer}):
        path = writer_lock_file(files.local, number)
        holder = read_holder(path)
        state: WriterState = "done" if holder.released or not holder.pid else "dead"
        if is_held(path):
            state = "writing"
        count, last = by_writer.get(number, (0, 0))
        claimed = len(claims.get(number, ()))
        where = number, holder.host, holder.pid, state, holder.since
        yield WriterStatus(*where, last or None, count if by_writer else None, claimed)


def _leases(files: StoreFiles, by_writer: _ByWriter) -> Iterator[WriterStatus]:
    """Yield the writers of an object store."""
    from prag_lightning.adapters.store.lease import living_writers

    for number, record, is_living in living_writers(files):
        state: WriterState = "done" if record.released else "dead"
        if is_living:
            state = "writing"
        count, last = by_writer.get(number, (0, 0))
        claimed = len(record.granted) if is_living else 0
        where = number, record.host, record.pid, state, record.since
        yield WriterStatus(*where, last or None, count, claimed)
