"""A lock file: held by at most one process, which it names, and free when that process is dead."""

import errno
import fcntl
import json
import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from prag_lightning.adapters.store.durable import (
    StoreLostError,
    needs_room,
    open_plain,
    write_at,
)
from prag_lightning.documents.writing import is_at

NO_FLOCK = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
_NUM_BYTES = 1024

# A forked worker inherits the descriptor and with it the lock, which it would keep after its
# parent was killed.
_HELD: set[int] = set()


def let_go() -> None:
    """Close all locks of this process, as its death would."""
    while _HELD:
        os.close(_HELD.pop())


os.register_at_fork(after_in_child=let_go)


@dataclass(frozen=True)
class Holder:
    """The process that took a lock last, as it wrote into the lock file.

    Args:
        pid: Its process id; 0 if unknown.
        host: Its host.
        word: A word that only this holder has.
        since: When it took the lock, in seconds since 1970.
        released: Whether it has released the lock.
    """

    pid: int = 0
    host: str = "unknown"
    word: str = ""
    since: int = 0
    released: bool = False

    @classmethod
    def here(cls) -> "Holder":
        """Return a record of this process."""
        return cls(os.getpid(), socket.gethostname(), uuid.uuid4().hex, int(time.time()))

    @property
    def name(self) -> str:
        """The process in words."""
        return f"process {self.pid or 'unknown'} on host {self.host}"

    @property
    def is_alive(self) -> bool:
        """Whether it is running, or may be: of processes on other hosts nothing is known."""
        if self.released or not self.pid:
            return False
        if self.host != socket.gethostname():
            return True
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


class LockFile:
    """An open lock file of a store, and the record of its holder."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._folder = path.parent
        self._path = path
        self._descriptor = descriptor
        self.holder = Holder.here()
        _HELD.add(descriptor)
        try:
            self._write()
        except BaseException:
            self._close()
            raise

    def check(self) -> None:
        """Check that the store is still the one that was locked.

        Raises:
            StoreLostError: If its lock is no longer there.
        """
        if not is_at(self._descriptor, self._path):
            raise StoreLostError(self._folder)

    def release(self) -> None:
        """Release the lock."""
        self.holder = replace(self.holder, released=True)
        # Best effort: it is closing the file that releases the lock.
        with suppress(OSError):
            self._write()
        self._close()

    def _write(self) -> None:
        # Fixed length and a single write, so that no other process reads a partial record.
        data = json.dumps(asdict(self.holder)).encode().ljust(_NUM_BYTES)
        with needs_room(self._path, len(data)):
            write_at(self._descriptor, memoryview(data), 0)
            os.ftruncate(self._descriptor, len(data))
            # Other hosts see what was flushed.
            os.fsync(self._descriptor)

    def _close(self) -> None:
        _HELD.discard(self._descriptor)
        os.close(self._descriptor)


def writer_lock_file(folder: Path, number: int) -> Path:
    """Return the lock file of a writer.

    Args:
        folder: The store.
        number: Number of the writer.
    """
    return folder / f"writer-{number:05d}.lock"


def is_held(path: Path) -> bool:
    """Return whether a process holds a lock file. Nothing is written."""
    try:
        descriptor = open_plain(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        # A shared lock, so that two processes that look at once do not see each other as holders.
        return not try_lock(descriptor, path, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def read_holder(path: Path) -> Holder:
    """Return the process that a lock file names; one with no pid if it names none."""
    try:
        with open(open_plain(path, os.O_RDONLY), "rb") as file:
            content = json.loads(file.read())
        pid, since = int(content.get("pid", 0)), int(content.get("since", 0))
        host, word = str(content.get("host", "unknown")), str(content.get("word", ""))
        return Holder(pid, host, word, since, bool(content.get("released", False)))
    except (FileNotFoundError, ValueError, TypeError, AttributeError):
        return Holder()


@contextmanager
def turn(path: Path, patience: float = 30.0) -> Iterator[int]:
    """Take turns with other processes for a moment; yield the open file.

    Args:
        path: A file that exists for this purpose.
        patience: Seconds after which the block is entered anyway.
    """
    descriptor = open_plain(path, os.O_RDWR | os.O_CREAT)
    deadline = time.monotonic() + patience
    try:
        while not try_lock(descriptor, path, fcntl.LOCK_EX) and time.monotonic() < deadline:
            time.sleep(0.01)
        yield descriptor
    finally:
        os.close(descriptor)


def try_lock(descriptor: int, path: Path, kind: int) -> bool:
    """Lock an open file without waiting; return whether it is locked now.

    Args:
        descriptor: The file.
        path: Its path, from whose contents a file system without locks must tell.
        kind: ``LOCK_EX``, or ``LOCK_SH`` to look only.
    """
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_FLOCK:
            raise
        # The file system has no locks: rely on the contents of the file.
        return not read_holder(path).is_alive
    return True
