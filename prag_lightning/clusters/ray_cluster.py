"""Ray clusters: connecting to one, and the actors that work there."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from importlib.util import find_spec
from typing import Any, Protocol

import torch

from prag_lightning.clusters.ray_pool import RayPool
from prag_lightning.clusters.workers import RayWorkers
from prag_lightning.documents.still_running import still_running
from prag_lightning.upstream import silence_ray

# Blocks and results are all that Ray's object store holds; Ray would take a third of the memory.
_OBJECT_STORE_BYTES = 256 * 2**20


@contextmanager
def connected(workers: RayWorkers) -> Iterator[None]:
    """Connect to the cluster, unless this process is connected already."""
    import ray

    if ray.is_initialized():
        yield
        return
    settings: dict[str, Any] = {
        "address": workers.address,
        "log_to_driver": False,
        "logging_level": logging.ERROR,
    }
    if workers.address == "local":
        settings |= {
            "num_cpus": max(os.cpu_count() or 1, workers.num_workers * workers.cpus_per_worker),
            "object_store_memory": _OBJECT_STORE_BYTES,
            "include_dashboard": False,
        }
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    silence_ray()
    handler = signal.getsignal(signal.SIGTERM)
    with still_running(lambda: f"connecting to Ray at '{workers.address}'"):
        try:
            ray.init(**settings)
        except ValueError:
            raise
        except Exception as error:
            # Ray raises errors of no particular kind, for example if its processes start slowly.
            raise ConnectionError(
                f"Ray cannot be reached at '{workers.address}' "
                f"({' '.join(str(error).split())[:300]}); `ray status` shows what is there"
            ) from None
    if threading.current_thread() is threading.main_thread():
        # Ray would end this process with the number of the signal as its status.
        signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def open_pool(
    build: Callable[[], "Worker"],
    workers: RayWorkers,
    load: Callable[[Any], Any] = lambda task: task,
) -> Iterator[RayPool[Any, Any]]:
    """Connect to the cluster, and open a pool of which one worker has begun.

    Args:
        build: Makes what does the tasks, in each of the workers.
        workers: How many there are, and what each needs.
        load: Returns a task as it is sent to a worker.
    """
    with connected(workers), closing(_make_pool(build, workers, load)) as pool:
        with still_running(lambda: f"waiting for Ray to start a worker, with {workers.wording}"):
            pool.wait()
        yield pool


def _make_pool(
    build: Callable[[], "Worker"], workers: RayWorkers, load: Callable[[Any], Any]
) -> RayPool[Any, Any]:
    import ray

    # By reference: with large arguments of its constructor, no actor could be made again.
    arguments = os.getcwd(), list(sys.path), [ray.put(build)], workers.cpus_per_worker
    actor = ray.remote(RayWorker).options(max_restarts=0, max_task_retries=0, **workers.resources)
    return RayPool(partial(actor.remote, *arguments), workers.num_workers, load)


class Worker(Protocol):
    """What does the tasks in a process."""

    def work(self, tasks: Sequence[Any]) -> list[Any]:
        """Do tasks, and return the results."""
        ...

    def close(self) -> None:
        """Close what is open."""
        ...


class RayWorker:
    """A process that works; Ray makes it an actor.

    Args:
        folder: Where relative paths begin.
        path: Where Python looks for modules.
        build: Reference to what makes a `Worker`, in a list, so that Ray does not read it before
            ``path`` is known.
        num_threads: Threads of this process.
    """

    def __init__(self, folder: str, path: list[str], build: list[Any], num_threads: int) -> None:
        self._folder, self._path, self._build = folder, path, build
        self._num_threads = num_threads

    def begin(self) -> None:
        """Get ready.

        Raises:
            ValueError: If the driver's folder is not there.
        """
        import ray

        try:
            os.chdir(self._folder)
        except OSError as error:
            raise ValueError(
                f"the worker on {os.uname().nodename} has no folder {self._folder}, where the run "
                f"was started ({error.strerror}); start it in a folder that all machines share"
            ) from None
        sys.path += [entry for entry in self._path if entry not in sys.path]
        torch.set_num_threads(self._num_threads)
        self._worker: Worker = ray.get(self._build[0])()

    def work(self, tasks: Sequence[Any]) -> list[Any]:
        """Do tasks, and return the results."""
        return self._worker.work(tasks)

    def close(self) -> None:
        """Close what is open."""
        self._worker.close()


def require_ray() -> None:
    """Check that ray is installed.

    Raises:
        ValueError: If it is not.
    """
    if not find_spec("ray"):
        raise ValueError(
            "the engine ray needs ray; install with: pip install 'prag-lightning[ray]'"
        )
