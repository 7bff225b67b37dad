"""Dividing the documents of an encoding among processes that know nothing of each other."""

from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from itertools import count
from typing import Any, NamedTuple

from torch.utils.data import DistributedSampler

from prag_lightning.encoding.plan import EncodingSteps
from prag_lightning.encoding.schedule import Schedule, Turn

# A process claims this share of what is left, so that all end at about the same time.
_SHARE = 1 / 16
_MOST_AT_ONCE = 256
# Where another process is at work, look for documents this share of the list further on. With the
# golden section, any number of processes spread evenly.
_LEAP = 0.382


class Claim(NamedTuple):
    """What came of a claim on documents; those in neither set are encoded already.

    Args:
        granted: Documents that this process is to encode.
        refused: Documents that other processes are encoding.
    """

    granted: Collection[str]
    refused: Collection[str] = ()


Claimant = Callable[[Sequence[str]], Claim]


class SharedSteps(DistributedSampler[Any]):
    """The steps of an encoding that shares its documents with other processes.

    When a slot is free, the next documents are claimed. Those that others are encoding are asked
    for again at the end, for their processes may have died. Alone, the steps are those of a
    schedule of all documents.

    Args:
        steps: All steps, of which some are left to other processes.
        claim: Claims documents; by default all are granted.
    """

    # A `DistributedSampler`, which Lightning does not replace by another.

    def __init__(self, steps: EncodingSteps, claim: Claimant | None = None) -> None:
        super().__init__(steps, num_replicas=1, rank=0, shuffle=False)
        self._steps = steps
        self._waiting = _Waiting(steps, claim or Claim)

    def __len__(self) -> int:
        """Return the largest number of steps."""
        return len(self._steps)

    @property
    def num_elsewhere(self) -> int:
        """How many documents other processes have encoded or are encoding."""
        return self._waiting.num_elsewhere

    def __iter__(self) -> Iterator[tuple[Turn, ...]]:
        """Yield the turns of each step, with indices of the encoding's tasks."""
        steps = self._steps
        self._waiting.begin()
        schedule, tasks = Schedule([], steps.num_slots), list[int]()
        for step in count():
            while schedule.has_free_slot(step) and (
                taken := self._waiting.take(is_idle=step >= len(schedule))
            ):
                for task in taken:
                    schedule.append(steps.num_steps[task], step)
                tasks += taken
            if step >= len(schedule):
                return
            yield tuple(replace(turn, document=tasks[turn.document]) for turn in schedule[step])


class _Waiting:
    """The documents that this process has not asked for yet, or in vain."""

    def __init__(self, steps: EncodingSteps, claim: Claimant) -> None:
        self._ids = [task.document_id for task in steps.tasks]
        self._fewest = steps.num_slots
        self._claim = claim
        self.begin()

    def begin(self) -> None:
        """Begin with all documents."""
        self._left = deque(range(len(self._ids)))
        self._refused: list[int] = []
        self._num_taken = 0

    @property
    def num_elsewhere(self) -> int:
        return len(self._ids) - self._num_taken - len(self._left)

    def take(self, is_idle: bool) -> list[int]:
        """Return the next documents for this process; none if others have all that are left.

        Args:
            is_idle: Whether there is nothing else to do, so that those refused are asked for again.
        """
        if is_idle:
            self._left.extend(self._refused)
            self._refused.clear()
        while self._left:
            size = min(_MOST_AT_ONCE, max(self._fewest, int(_SHARE * len(self._left))))
            block = [self._left.popleft() for _ in range(min(size, len(self._left)))]
            claim = self._claim([self._ids[number] for number in block])
            taken = [number for number in block if self._ids[number] in claim.granted]
            refused = [number for number in block if self._ids[number] in claim.refused]
            self._refused += refused
            self._num_taken += len(taken)
            if taken:
                return taken
            if refused:
                self._left.rotate(-int(_LEAP * len(self._left)))
        return []
