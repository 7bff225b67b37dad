"""A loader that makes the batches of an encoding in a thread, ahead of the model."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from copy import copy, deepcopy
from typing import Any, cast

from torch.utils.data import DataLoader, Sampler

from prag_lightning.encoding.batches import EncodingBatch
from prag_lightning.encoding.plan import EncodingSteps

# Batches that are ready before they are asked for. Making one takes less time than a step.
_NUM_AHEAD = 2


class StepsAhead(DataLoader[EncodingBatch]):
    """Loads the steps of an encoding; the next ones are made while the model is busy.

    Without worker processes a thread makes them, with a tokenizer of its own: a tokenizer must not
    be used by two threads at once, and questions may be asked while documents are encoded.

    Args:
        steps: The steps.
        sampler: Order of the steps.
        num_workers: Processes that make batches; 0 for a thread.
        pin_memory: Put batches into memory from which a GPU copies while it works.
    """

    def __init__(
        self, steps: EncodingSteps, sampler: Sampler[Any], num_workers: int, pin_memory: bool
    ) -> None:
        super().__init__(
            steps, None, sampler=sampler, num_workers=num_workers, pin_memory=pin_memory
        )

    def __iter__(self) -> Any:
        """Yield the batches in order."""
        return self._from_thread() if self.num_workers == 0 else super().__iter__()

    def _from_thread(self) -> Iterator[EncodingBatch]:
        steps = copy(cast(EncodingSteps, self.dataset))
        steps.encoder = deepcopy(steps.encoder)

        def make(index: int) -> EncodingBatch:
            batch = steps[index]
            return batch.pin_memory() if self.pin_memory else batch

        maker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="steps-ahead")
        pending: deque[Future[EncodingBatch]] = deque()
        try:
            for index in self.sampler:
                pending.append(maker.submit(make, index))
                if len(pending) > _NUM_AHEAD:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            maker.shutdown(wait=True, cancel_futures=True)
