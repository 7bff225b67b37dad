"""A pool of Ray actors that do blocks of tasks, which outlives any of them.

Plain actors, not Ray Data's pool: with Ray 2.60, a document that killed its process ended
`map_batches` at 12 of 40 documents (max_restarts=2, max_task_retries=2), as one exception does. It
also puts all blocks into the object store at once, and closes no worker's files. Here an actor that
dies is replaced by a new one, and its block goes to whoever is free, a limited number of times.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Generic, TypeVar

from prag_lightning.clusters.blocks import Block, TaskT, after_death
from prag_lightning.encoding.per_document import LostProcessError

ResultT = TypeVar("ResultT")

# Seconds between two looks whether anything is to be said.
_TICK = 1.0
# Seconds that workers get to close their files.
_PATIENCE = 60.0


class RayPool(Generic[TaskT, ResultT]):
    """Ray actors that do blocks of tasks.

    Args:
        make: Makes an actor with the methods ``begin``, ``work`` and ``close``; Ray starts it when
            the cluster has room for it. ``work`` does the tasks of a block.
        num_workers: Number of actors.
        load: Returns a task as it is sent to an actor.
    """

    def __init__(
        self,
        make: Callable[[], Any],
        num_workers: int,
        load: Callable[[TaskT], Any] = lambda task: task,
    ) -> None:
        self._make, self._load = make, load
        # What each call returns, with its worker and its block; no block if the worker begins.
        self._calls: dict[Any, tuple[Any, Block[TaskT] | None]] = {}
        self._idle: list[Any] = []
        self._num_workers = num_workers
        self._deaths_in_a_row = 0
        for _ in range(num_workers):
            self._add_worker()

    @property
    def num_ready(self) -> int:
        """Number of workers that have begun."""
        return len(self._idle) + sum(block is not None for _, block in self._calls.values())

    def wait(self) -> None:
        """Wait until a worker has begun, or died."""
        import ray

        ray.wait(list(self._calls))

    def work(
        self, blocks: Iterable[Block[TaskT]]
    ) -> Iterator[tuple[Block[TaskT], list[ResultT] | None]]:
        """Yield each block with what its worker returned, as soon as it is known.

        A block over which workers keep dying is divided, so that what is yielded at last with None
        is a single task.

        Raises:
            LostProcessError: If workers die one after another, whatever they do.
            Exception: What a worker raised that concerns all tasks.
        """
        import ray

        blocks, next_ones = iter(blocks), deque[Block[TaskT]]()
        while True:
            next_ones.extend(islice(blocks, max(0, len(self._idle) + 1 - len(next_ones))))
            while self._idle and next_ones:
                worker, block = self._idle.pop(), next_ones.popleft()
                call = worker.work.remote([self._load(task) for task in block.tasks])
                self._calls[call] = (worker, block)
            if not next_ones and all(block is None for _, block in self._calls.values()):
                return
            done, _ = ray.wait(list(self._calls), timeout=_TICK)
            for call in done:
                given, results = self._finish(call)
                again = [] if given is None or results is not None else after_death(given)
                next_ones += again
                if given is not None and not again:
                    yield given, results

    def close(self) -> None:
        """End the workers, which first close their files, unless they are at work."""
        import ray

        if calls := [worker.close.remote() for worker in self._idle]:
            ray.wait(calls, num_returns=len(calls), timeout=_PATIENCE)
        for worker in [*self._idle, *(worker for worker, _ in self._calls.values())]:
            ray.kill(worker)
        self._idle, self._calls = [], {}

    def _finish(self, call: Any) -> tuple[Block[TaskT] | None, list[ResultT] | None]:
        """Return the block of a call and its results; None if its worker died."""
        import ray

        worker, block = self._calls.pop(call)
        try:
            results: list[ResultT] | None = ray.get(call)
        except ray.exceptions.RayTaskError as error:
            # What could not be sent here is described by Ray's own error.
            raise error.cause if isinstance(error.cause, Exception) else error from None
        except ray.exceptions.RayError as error:
            self._replace(worker, error)
            return block, None
        self._idle.append(worker)
        if block is not None:
            self._deaths_in_a_row = 0
        return block, results

    def _add_worker(self) -> None:
        worker = self._make()
        self._calls[worker.begin.remote()] = (worker, None)

    def _replace(self, worker: Any, error: Exception) -> None:
        """Put a new worker in place of one that died."""
        import ray

        ray.kill(worker)
        self._deaths_in_a_row += 1
        # A task that kills workers has killed four before it is given up.
        if self._deaths_in_a_row > 5 * self._num_workers:
            raise LostProcessError(
                f"{self._deaths_in_a_row} workers died one after another, and no block was "
                f"done in between; the last one: {' '.join(str(error).split())[:400]}"
            )
        self._add_worker()
