"""The write lock on a store, shared by the ranks of one run."""

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

# A forked worker inherits the descriptor and with it the lock, which it would keep after its
# parent was killed.
_held: set[int] = set()


def _let_go() -> None:
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_let_go)


class RunLock:
    """The write lock on a store; released by `release`, or when the process dies.

    Rank 0 takes ``run.lock``, provided that no rank of an earlier run still holds a lock. The other
    ranks wait until rank 0 admits them, and then take a lock each, so that no two processes write
    the same files. Rank 0 admits ranks with a token that is unique to the run. A rank uses a token
    only once, so the token that a finished run left in the file admits no one.

    Args:
        folder: The store.
        rank: Rank of this process within its run.
        run_id: An id that all ranks of the run share.
        wait: Seconds that the other ranks wait for rank 0.

    Raises:
        BlockingIOError: If another run is writing to the store; the message names its process.
        TimeoutError: If rank 0 does not admit this rank in time.
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
                # Ranks of an earlier run can no longer join from here on.
                self._write(self._process)
                self._refuse_other_ranks()
            except BaseException:
                self.release()
                raise
            self._words["word"] = uuid.uuid4().hex

    def announce(self) -> None:
        """Admit the other ranks of this run."""
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
        """Release the lock. A rank that arrives late still finds its run in the file."""
        # Best effort: it is closing the file that releases the lock.
        with suppress(OSError):
            self._write(self._words)
        _held.discard(self._descriptor)
        os.close(self._descriptor)

    def _join(self, run_id: str, wait: float) -> None:
        """Take this rank's lock once rank 0 has admitted it."""
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
                # Another run has started in the meantime.
                self.release()
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"{self._folder}: rank 0 of this run ({run_id}) did not open the store within "
                    f"{wait:g} seconds; see what stopped it, and start the run again"
                )
            time.sleep(0.05)

    def _open_word(self, run_id: str) -> str | int | None:
        """Return the token with which rank 0 of this run admits ranks; None if it does not."""
        content = _content(self._folder / _RUN_LOCK)
        return content.get("word") if content.get("run_id") == run_id else None

    def _take(self) -> None:
        self._descriptor = open_plain(self._path, os.O_RDWR | os.O_CREAT)
        if not _try_lock(self._descriptor, self._path, fcntl.LOCK_EX):
            os.close(self._descriptor)
            raise BlockingIOError(_refusal(self._folder, _content(self._path)))
        _held.add(self._descriptor)

    def _refuse_other_ranks(self) -> None:
        """Refuse to start while a rank of an earlier run, which outlives its rank 0, is alive."""
        for path in sorted(self._folder.glob("rank-*.lock")):
            _refuse_holder(self._folder, path)

    def _write(self, content: dict[str, str | int]) -> None:
        # Fixed length and a single write, so that no other process reads a partial record.
        data = json.dumps(content).encode().ljust(_NUM_BYTES)
        with needs_room(self._path, len(data)):
            write_at(self._descriptor, memoryview(data), 0)
            os.ftruncate(self._descriptor, len(data))


def current_run_id() -> str:
    """Return an id that only the ranks of this run share: their job or rendezvous."""
    known = os.environ
    if job := known.get("SLURM_JOB_ID"):
        # A requeued job keeps its number.
        restart = known.get("SLURM_RESTART_COUNT", "")
        return f"slurm {job}.{known.get('SLURM_STEP_ID', '')}" + (restart and f" again {restart}")
    point = f"{known.get('MASTER_ADDR', '')}:{known.get('MASTER_PORT', '')}"
    errors = known.get("TORCHELASTIC_ERROR_FILE")
    if errors and known.get("LOCAL_WORLD_SIZE") == known.get("WORLD_SIZE"):
        # torchrun creates a folder per run, RUN/attempt_N/RANK/error.json, whereas its port may be
        # that of an earlier run.
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
        # The file system has no locks: rely on the contents of the file.
        return not _is_alive(_content(path))
    return True


def _refuse_holder(folder: Path, path: Path) -> None:
    """Raise if another process holds a lock on a store."""
    descriptor = open_plain(path, os.O_RDWR | os.O_CREAT)
    try:
        # A shared lock, so that two processes that check at once do not see each other as holders.
        if not _try_lock(descriptor, path, fcntl.LOCK_SH):
            raise BlockingIOError(_refusal(folder, _content(path)))
    finally:
        os.close(descriptor)


def _content(path: Path) -> dict[str, str | int]:
    """Return the contents of a lock file; empty if nothing has been written yet."""
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
