"""One run at a time: the lock on a store, shared by the ranks of one run."""

import errno
import fcntl
import json
import os
import socket
import time
import uuid
from contextlib import suppress
from pathlib import Path

from prag_lightning.adapters.store.durable import (
    StoreLostError,
    needs_room,
    open_plain,
    write_at,
)

_NO_FLOCK = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
_RUN_LOCK = "run.lock"
_NUM_BYTES = 1024

# A forked worker inherits the descriptor, and with it the lock: it would hold on to it after
# its parent was killed.
_held: set[int] = set()


def _let_go() -> None:
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_let_go)


class RunLock:
    """The right to write into a store; given back with `release`, or when the process dies.

    Rank 0 takes ``run.lock``, and only if no rank of a run before holds its own. The other ranks
    wait until rank 0 has let them in, and take a lock each, so that no two processes write the same
    files. Rank 0 lets in with a word that no other run has; a rank joins on it once, so that what a
    finished run left in the file lets nobody in again.

    Args:
        folder: The store.
        rank: This process's number within its run.
        run_id: The same for all ranks of one run.
        wait: Seconds that a rank waits for rank 0.

    Raises:
        BlockingIOError: If another run is writing into the store; names its process and host.
        TimeoutError: If rank 0 does not come.
    """

    def __init__(self, folder: Path, rank: int, run_id: str, wait: float = 300.0) -> None:
        self._folder = folder
        self._path = folder / (f"rank-{rank:05d}.lock" if rank else _RUN_LOCK)
        self._words: dict[str, str | int] = {"run_id": run_id}
        self._process: dict[str, str | int] = {"pid": os.getpid(), "host": socket.gethostname()}
        if rank:
            self._join(run_id, wait)
        else:
            self._take()
            try:
                # Nobody joins from here on, until it is said again that they may.
                self._write(self._process)
                self._refuse_other_ranks()
            except BaseException:
                self.release()
                raise
            self._words["word"] = uuid.uuid4().hex

    def announce(self) -> None:
        """Let the other ranks of this run in."""
        self._write({**self._process, **self._words})

    def check(self) -> None:
        """Check that the store is still the one that was locked.

        Raises:
            StoreLostError: If its lock is no longer there.
        """
        try:
            there = os.path.samestat(os.fstat(self._descriptor), os.lstat(self._path))
        except FileNotFoundError:
            there = False
        if not there:
            raise StoreLostError(self._folder)

    def release(self) -> None:
        """Give the lock back. A rank that comes late still finds its run here."""
        # Only words: closing the file is what gives the lock back.
        with suppress(OSError):
            self._write(self._words)
        _held.discard(self._descriptor)
        os.close(self._descriptor)

    def _join(self, run_id: str, wait: float) -> None:
        """Take this rank's lock once rank 0 has let it in."""
        deadline = time.monotonic() + wait
        joined_before = _content(self._path).get("word")
        _refuse_holder(self._folder, self._path)
        while True:
            word = self._open_word(run_id)
            if word is not None and word != joined_before:
                self._take()
                self._words["word"] = word
                self._write({**self._process, **self._words})
                if self._open_word(run_id) == word:
                    return
                # Meanwhile another run has begun.
                self.release()
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"{self._folder}: rank 0 of this run ({run_id}) did not open the store within "
                    f"{wait:g} seconds; see what stopped it, and start the run again"
                )
            time.sleep(0.05)

    def _open_word(self, run_id: str) -> str | int | None:
        """Return the word with which rank 0 of this run lets in; None if it does not."""
        content = _content(self._folder / _RUN_LOCK)
        return content.get("word") if content.get("run_id") == run_id else None

    def _take(self) -> None:
        self._descriptor = open_plain(self._path, os.O_RDWR | os.O_CREAT)
        if not _try_lock(self._descriptor, self._path, fcntl.LOCK_EX):
            os.close(self._descriptor)
            raise BlockingIOError(_refusal(self._folder, _content(self._path)))
        _held.add(self._descriptor)

    def _refuse_other_ranks(self) -> None:
        """Refuse to begin while a rank of a run before lives: it goes on without its rank 0."""
        for path in sorted(self._folder.glob("rank-*.lock")):
            _refuse_holder(self._folder, path)

    def _write(self, content: dict[str, str | int]) -> None:
        # All of one length and so with one write: another process never reads half of it.
        data = json.dumps(content).encode().ljust(_NUM_BYTES)
        with needs_room(self._path, len(data)):
            write_at(self._descriptor, memoryview(data), 0)
            os.ftruncate(self._descriptor, len(data))


def current_run_id() -> str:
    """Return what all ranks of this run, and no others, agree on: their job or meeting point."""
    known = os.environ
    if job := known.get("SLURM_JOB_ID"):
        # A job that is queued again keeps its number.
        restart = known.get("SLURM_RESTART_COUNT", "")
        return f"slurm {job}.{known.get('SLURM_STEP_ID', '')}" + (restart and f" again {restart}")
    point = f"{known.get('MASTER_ADDR', '')}:{known.get('MASTER_PORT', '')}"
    errors = known.get("TORCHELASTIC_ERROR_FILE")
    if errors and known.get("LOCAL_WORLD_SIZE") == known.get("WORLD_SIZE"):
        # torchrun makes a folder for each of its runs, RUN/attempt_N/RANK/error.json, while its
        # port may be the one of a run before.
        return f"{point} {Path(errors).parents[1]}"
    return point


def _try_lock(descriptor: int, path: Path, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_FLOCK:
            raise
        # A file system without locks: what the file says must do.
        return not _is_alive(_content(path))
    return True


def _refuse_holder(folder: Path, path: Path) -> None:
    """Refuse to go on while another process holds a lock of a store."""
    descriptor = open_plain(path, os.O_RDWR | os.O_CREAT)
    try:
        # Shared, so that two who look at the same time do not take each other for a holder.
        if not _try_lock(descriptor, path, fcntl.LOCK_SH):
            raise BlockingIOError(_refusal(folder, _content(path)))
    finally:
        os.close(descriptor)


def _content(path: Path) -> dict[str, str | int]:
    """Return what was written into a lock; nothing if there is nothing yet."""
    try:
        with open(open_plain(path, os.O_RDONLY), "rb") as file:
            content = json.loads(file.read())
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _is_alive(holder: dict[str, str | int]) -> bool:
    if "pid" not in holder or holder.get("host") != socket.gethostname():
        return "pid" in holder
    try:
        os.kill(int(holder["pid"]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _refusal(folder: Path, holder: dict[str, str | int]) -> str:
    who = f"process {holder.get('pid', 'unknown')} on host {holder.get('host', 'unknown')}"
    return (
        f"{folder}: {who} is writing into this store; wait until it is done, or use another "
        f"store folder (if that process is gone, delete the *.lock files in {folder})"
    )
