"""A pool of Ray actors that encode blocks, which outlives any of them.

Plain actors, not Ray Data's pool: with Ray 2.60, a document that killed its process ended
`map_batches` at 12 of 40 documents (max_restarts=2, max_task_retries=2), as one exception does. It
also puts all blocks into the object store at once, and closes no worker's files. Here an actor that
dies is replaced by a new one, and its block goes to whoever is free, a limited number of times.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from prag_lightning.clusters.block_encoder import BlockResult
from prag_lightning.clusters.blocks import Block, after_death
from prag_lightning.encoding.per_document import LostProcessError

# Seconds between two looks whether anything is to be said.
_TICK = 1.0
# Seconds that workers get to close their files.
_PATIENCE = 60.0


class RayPool:
    """Ray actors that encode blocks.

    Args:
        make: Makes an actor with the methods ``begin``, ``encode`` and ``close``; Ray starts it
            when the cluster has room for it.
        num_workers: Number of actors.
    """

    def __init__(self, make: Callable[[], Any], num_workers: int) -> None:
        self._make = make
        # What each call returns, with its worker and its block; no block if the worker begins.
        self._calls: dict[Any, tuple[Any, Block | None]] = {}
        self._idle: list[Any] = []
        self._num_workers = num_workers
        self._deaths_in_a_row = 0
        for _ in range(num_workers):
            self._add_worker()

    def wait(self) -> None:
        """Wait until a worker has begun, or died."""
        import ray

        ray.wait(list(self._calls))

    def encode(self, blocks: Iterable[Block]) -> Iterator[BlockResult]:
        """Yield what became of each block, as soon as it is known.

        Documents over which workers keep dying are among the failures.

        Raises:
            LostProcessError: If workers die one after another, whatever they encode.
            Exception: What a worker raised that concerns all documents.
        """
        import ray

        blocks, next_ones = iter(blocks), deque[Block]()
        while True:
            next_ones.extend(islice(blocks, max(0, len(self._idle) + 1 - len(next_ones))))
            while self._idle and next_ones:
                worker, block = self._idle.pop(), next_ones.popleft()
                tasks = [task.in_memory() for task in block.tasks]
                self._calls[worker.encode.remote(tasks)] = (worker, block)
            if not next_ones and all(block is None for _, block in self._calls.values()):
                return
            done, _ = ray.wait(list(self._calls), timeout=_TICK)
            for call in done:
                result, again = self._finish(call)
                next_ones += again
                yield result

    def close(self) -> None:
        """End the workers, which first close their files, unless they are encoding."""
        import ray

        if calls := [worker.close.remote() for worker in self._idle]:
            ray.wait(calls, num_returns=len(calls), timeout=_PATIENCE)
        for worker in [*self._idle, *(worker for worker, _ in self._calls.values())]:
            ray.kill(worker)
        self._idle, self._calls = [], {}

    def _finish(self, call: Any) -> tuple[BlockResult, list[Block]]:
        """Return what became of the documents of a call, and the blocks to encode again."""
        import ray

        worker, block = self._calls.pop(call)
        try:
            result = ray.get(call)
        except ray.exceptions.RayTaskError as error:
            # What could not be sent here is described by Ray's own error.
            raise error.cause if isinstance(error.cause, Exception) else error from None
        except ray.exceptions.RayError as error:
            self._replace(worker, error)
            again = [] if block is None else after_death(block)
            return BlockResult() if again or block is None else _given_up(block), again
        self._idle.append(worker)
        if block is None:
            return BlockResult(), []
        self._deaths_in_a_row = 0
        return result, []

    def _add_worker(self) -> None:
        worker = self._make()
        self._calls[worker.begin.remote()] = (worker, None)

    def _replace(self, worker: Any, error: Exception) -> None:
        """Put a new worker in place of one that died."""
        import ray

        ray.kill(worker)
        self._deaths_in_a_row += 1
        # A document that kills workers has killed four before it is given up.
        if self._deaths_in_a_row > 5 * self._num_workers:
            raise LostProcessError(
                f"{self._deaths_in_a_row} workers died one after another, and no block was "
                f"encoded in between; the last one: {' '.join(str(error).split())[:400]}"
            )
        self._add_worker()


def _given_up(block: Block) -> BlockResult:
    """Return the failure of a document over which no more workers shall die."""
    why = "each worker that encoded it died; it may take too much memory"
    return BlockResult(failures={task.document_id: why for task in block.tasks})
