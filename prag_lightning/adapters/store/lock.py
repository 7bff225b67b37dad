"""One run at a time: the lock on a store, shared by the ranks of one run."""

import errno
import fcntl
import json
import os
import socket
import time
from contextlib import suppress
from pathlib import Path

from prag_lightning.adapters.store.durable import needs_room, write_at

_NO_FLOCK = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)

# A forked worker inherits the descriptor, and with it the lock: it would hold on to it after
# its parent was killed.
_held: set[int] = set()


def _let_go() -> None:
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_let_go)


class RunLock:
    """The right to write into a store; given back with `release`, or when the process dies.

    Rank 0 takes ``run.lock``. The other ranks of its run wait until it has, and take one of their
    own, so that no two processes write the same files.

    Args:
        folder: The store.
        rank: This process's number within its run.
        run_id: The same for all ranks of one run.
        wait: Seconds that a rank waits for rank 0.

    Raises:
        ValueError: If another run is writing into the store; names its process and host.
    """

    def __init__(self, folder: Path, rank: int, run_id: str, wait: float = 300.0) -> None:
        if rank:
            _wait_for_run(folder, run_id, wait)
        self._path = folder / (f"rank-{rank:05d}.lock" if rank else "run.lock")
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        if not _try_lock(self._descriptor, self._path):
            os.close(self._descriptor)
            raise ValueError(_refusal(folder, _holder(self._path)))
        _held.add(self._descriptor)
        self._run_id = run_id
        self._process: dict[str, str | int] = {"pid": os.getpid(), "host": socket.gethostname()}
        self._write(self._process)

    def announce(self) -> None:
        """Let the other ranks of this run in."""
        self._write({**self._process, "run_id": self._run_id})

    def release(self) -> None:
        """Give the lock back. A rank that comes late still finds its run here."""
        # Only words: closing the file is what gives the lock back.
        with suppress(OSError):
            self._write({"run_id": self._run_id})
        _held.discard(self._descriptor)
        os.close(self._descriptor)

    def _write(self, content: dict[str, str | int]) -> None:
        data = json.dumps(content).encode()
        with needs_room(self._path, len(data)):
            os.ftruncate(self._descriptor, 0)
            write_at(self._descriptor, memoryview(data), 0)


def current_run_id() -> str:
    """Return what all ranks of this run, and no others, agree on: their job or meeting point."""
    if job := os.environ.get("SLURM_JOB_ID"):
        return f"slurm {job}.{os.environ.get('SLURM_STEP_ID', '')}"
    return f"{os.environ.get('MASTER_ADDR', '')}:{os.environ.get('MASTER_PORT', '')}"


def _try_lock(descriptor: int, path: Path) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_FLOCK:
            raise
        # A file system without locks: what the file says must do.
        return not _is_alive(_holder(path))
    return True


def _holder(path: Path) -> dict[str, str | int]:
    """Return what the holder of a lock wrote into it; nothing if it wrote nothing yet."""
    try:
        content = json.loads(path.read_bytes())
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


def _wait_for_run(folder: Path, run_id: str, wait: float) -> None:
    deadline = time.monotonic() + wait
    while _holder(folder / "run.lock").get("run_id") != run_id:
        if time.monotonic() > deadline:
            raise ValueError(
                f"{folder}: rank 0 of this run ({run_id}) did not open the store within "
                f"{wait:g} seconds; see what stopped it, and start the run again"
            )
        time.sleep(0.05)
