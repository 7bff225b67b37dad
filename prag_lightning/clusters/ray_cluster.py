"""Ray clusters: connecting to one, and the actors that encode there."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic import NonNegativeFloat, PositiveInt

from prag_lightning.clusters.block_encoder import BlockEncoder, BlockResult, EncodingParts
from prag_lightning.clusters.ray_pool import RayPool
from prag_lightning.documents.still_running import still_running
from prag_lightning.encoding.plan import EncodingTask
from prag_lightning.upstream import silence_ray

# Blocks and receipts are all that Ray's object store holds; Ray would take a third of the memory.
_OBJECT_STORE_BYTES = 256 * 2**20


@dataclass(frozen=True)
class RayWorkers:
    """The workers of a Ray cluster that encode documents.

    Args:
        address: ``local`` starts Ray on this machine, for this run; ``auto`` takes the cluster that
            this machine belongs to; otherwise the ``HOST:PORT`` of a cluster.
        num_workers: Number of processes that encode. They begin as the cluster has room for them,
            and one that dies is replaced.
        cpus_per_worker: CPUs, and threads, of each.
        gpus_per_worker: GPUs of each: 1, a share of one, or none.

    Raises:
        ValueError: If a worker is to have several GPUs.
    """

    address: str = "local"
    num_workers: PositiveInt = 2
    cpus_per_worker: PositiveInt = 1
    gpus_per_worker: NonNegativeFloat = 0.0

    def __post_init__(self) -> None:
        """Check the number of GPUs."""
        if self.gpus_per_worker > 1:
            raise ValueError(
                f"gpus_per_worker is {self.gpus_per_worker:g}, but a base lies on one GPU; give 1, "
                "and more num_workers"
            )

    @property
    def resources(self) -> dict[str, float]:
        """What Ray is asked for, for each worker."""
        return {"num_cpus": self.cpus_per_worker, "num_gpus": self.gpus_per_worker}

    @property
    def wording(self) -> str:
        """What each worker needs, in words."""
        return f"cpus_per_worker {self.cpus_per_worker}, gpus_per_worker {self.gpus_per_worker:g}"


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


def make_pool(parts: EncodingParts, workers: RayWorkers) -> RayPool:
    """Return a pool of actors, which Ray starts as the cluster has room for them.

    Args:
        parts: What they encode with.
        workers: How many there are, and what each needs.
    """
    import ray

    # By reference: with large arguments of its constructor, no actor could be made again.
    arguments = os.getcwd(), list(sys.path), [ray.put(parts)], workers.cpus_per_worker
    actor = ray.remote(RayWorker).options(max_restarts=0, max_task_retries=0, **workers.resources)
    return RayPool(partial(actor.remote, *arguments), workers.num_workers)


class RayWorker:
    """A process that encodes; Ray makes it an actor.

    Args:
        folder: Where relative paths begin.
        path: Where Python looks for modules.
        parts: Reference to an `EncodingParts`, in a list, so that Ray does not read it before
            ``path`` is known.
        num_threads: Threads of this process.
    """

    def __init__(self, folder: str, path: list[str], parts: list[Any], num_threads: int) -> None:
        self._folder, self._path, self._parts = folder, path, parts
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
        self._encoder = BlockEncoder(ray.get(self._parts[0]), self._num_threads)

    def encode(self, tasks: Sequence[EncodingTask]) -> BlockResult:
        """Encode documents, and return what became of each."""
        return self._encoder.encode(tasks)

    def close(self) -> None:
        """Close the store."""
        self._encoder.close()
