"""Locks on a store: one for each writer, and one for whoever needs the store alone."""

import fcntl
import os
import socket
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from prag_lightning.adapters.store.claims import claim_documents
from prag_lightning.adapters.store.durable import open_plain
from prag_lightning.adapters.store.lock_file import (
    NO_FLOCK,
    Holder,
    LockFile,
    is_held,
    read_holder,
    try_lock,
    writer_lock_file,
)
from prag_lightning.documents.naming import first_few
from prag_lightning.documents.writing import is_at

_ALONE = "run.lock"
# Seconds for which an operation of moments, such as a look at this lock, is waited for.
_PATIENCE = 1.0


class WriterLock(LockFile):
    """The right to write as one of a store's writers; others may write at the same time.

    Writers are numbered. A process takes the first number that nobody holds, so that it continues
    the files of a writer that has ended. What a killed process left is taken over by processes of
    its own host only: elsewhere, a lock that is held may seem free on some network disks.

    Args:
        folder: The store.

    Attributes:
        number: Number of the writer.

    Raises:
        BlockingIOError: If another process needs the store alone; the message names it.
    """

    def __init__(self, folder: Path) -> None:
        self.number, descriptor = _take_any(folder)
        super().__init__(writer_lock_file(folder, self.number), descriptor)
        # This lock was taken first and is looked for by `StoreLock`, so that of two processes which
        # open the store at once at least one sees the other.
        if _stays_held(folder / _ALONE):
            self.release()
            raise BlockingIOError(
                f"{folder}: {read_holder(folder / _ALONE).name} deletes, repairs or merges in this "
                f"store, for which it must be alone; wait until it is done{_if_gone(folder)}"
            )

    def claim(self, document_ids: Sequence[str], kept: Collection[str]) -> list[str]:
        """Claim documents beside those ``kept``; return those that no other writer has claimed."""
        return claim_documents(self._folder, self.number, self.holder.word, document_ids, kept)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Have the store alone in the block.

        Raises:
            BlockingIOError: If another process is writing.
        """
        lock = StoreLock(self._folder, but=self.number)
        try:
            yield
        finally:
            lock.release()


class StoreLock(LockFile):
    """The right to change everything in a store, while no other process writes.

    Args:
        folder: The store.
        but: Number of a writer that this process holds itself.

    Raises:
        BlockingIOError: If other processes are writing; the message names them.
    """

    def __init__(self, folder: Path, but: int | None = None) -> None:
        path = folder / _ALONE
        descriptor = open_plain(path, os.O_RDWR | os.O_CREAT)
        deadline = time.monotonic() + _PATIENCE
        while not try_lock(descriptor, path, fcntl.LOCK_EX):
            # Perhaps a writer that is just looking.
            if time.monotonic() > deadline:
                os.close(descriptor)
                raise BlockingIOError(_refusal(folder, [read_holder(path)]))
            time.sleep(0.01)
        super().__init__(path, descriptor)
        try:
            refuse_writers(folder, but)
        except BaseException:
            self.release()
            raise

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Have the store alone in the block, as outside of it."""
        yield

    def claim(self, document_ids: Sequence[str], kept: Collection[str]) -> list[str]:
        """Return all documents, as there is no other writer."""
        return list(document_ids)


def writer_numbers(folder: Path) -> list[int]:
    """Return the numbers of all writers that a store has had."""
    stems = (path.stem.removeprefix("writer-") for path in folder.glob("writer-*.lock"))
    return sorted(int(stem) for stem in stems if stem.isdecimal())


def living_writers(folder: Path) -> Iterator[tuple[int, Holder]]:
    """Yield the number and process of each writer whose lock is held."""
    for number in writer_numbers(folder):
        path = writer_lock_file(folder, number)
        if is_held(path):
            yield number, read_holder(path)


def refuse_writers(folder: Path, but: int | None = None) -> None:
    """Refuse a store into which processes are writing.

    Args:
        folder: The store.
        but: Number of a writer that is let pass.

    Raises:
        BlockingIOError: If there are others; the message names them.
    """
    if others := [writer for number, writer in living_writers(folder) if number != but]:
        raise BlockingIOError(_refusal(folder, others))


def _take_any(folder: Path) -> tuple[int, int]:
    """Lock the first free writer's lock file; return its number, and the open file."""
    number = 0
    while (descriptor := _take_over(writer_lock_file(folder, number))) is None:
        number += 1
    return number, descriptor


def _take_over(path: Path) -> int | None:
    """Lock a writer's lock file if it is new, or free and may be taken over."""
    try:
        descriptor, is_new = open_plain(path, os.O_RDWR | os.O_CREAT | os.O_EXCL), True
    except FileExistsError:
        descriptor, is_new = open_plain(path, os.O_RDWR), False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        last = read_holder(path)
        taken = last.released or not last.pid or last.host == socket.gethostname()
        taken = taken and is_at(descriptor, path)
    except BlockingIOError:
        taken = False
    except OSError as error:
        if error.errno not in NO_FLOCK:
            os.close(descriptor)
            raise
        # Without locks, only the creation of a file is decided between processes.
        taken = is_new
    if not taken:
        os.close(descriptor)
        return None
    return descriptor


def _stays_held(path: Path) -> bool:
    """Return whether a lock is held for longer than a process needs to be refused it."""
    deadline = time.monotonic() + _PATIENCE
    while is_held(path):
        if time.monotonic() > deadline:
            return True
        time.sleep(0.01)
    return False


def _refusal(folder: Path, holders: list[Holder]) -> str:
    names = first_few([holder.name for holder in holders])
    verb = "is" if len(holders) == 1 else "are"
    return (
        f"{folder}: {names} {verb} writing into this store, which must be alone for this; "
        f"wait until that is done{_if_gone(folder)}"
    )


def _if_gone(folder: Path) -> str:
    return f" (if that process is gone, delete the *.lock files in {folder})"
