"""Which document trains on which of its prompts in which slot, at every step of an encoding."""

import heapq
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Turn:
    """One document's part in one step.

    Args:
        slot: Slot of its adapter.
        document: Index of the document in the list that was scheduled.
        step: Number of steps that it has taken before.
        is_first: Whether it begins with this step.
        is_last: Whether it is done after this step.
    """

    slot: int
    document: int
    step: int
    is_first: bool
    is_last: bool


class Schedule(Sequence[tuple[Turn, ...]]):
    """The steps of an encoding; each holds a turn for every busy slot.

    Documents begin in order, each in the first slot to become free, so that no slot is idle while
    documents are left.

    Args:
        num_steps: Steps that each document takes; none may be 0.
        num_slots: How many documents train at once.
    """

    def __init__(self, num_steps: Sequence[int], num_slots: int) -> None:
        self._num_steps: list[int] = []
        self._documents: list[list[int]] = [[] for _ in range(num_slots)]
        self._starts: list[list[int]] = [[] for _ in range(num_slots)]
        # A heap of the step from which each slot is free.
        self._free = [(0, slot) for slot in range(num_slots)]
        self._length = 0
        for steps in num_steps:
            self.append(steps)

    def append(self, num_steps: int, earliest: int = 0) -> None:
        """Add a document after all others.

        Args:
            num_steps: Steps that it takes; not 0.
            earliest: The first step in which it may begin.
        """
        assert num_steps > 0
        start, slot = heapq.heappop(self._free)
        start = max(start, earliest)
        self._documents[slot].append(len(self._num_steps))
        self._starts[slot].append(start)
        self._num_steps.append(num_steps)
        heapq.heappush(self._free, (start + num_steps, slot))
        self._length = max(self._length, start + num_steps)

    def has_free_slot(self, index: int) -> bool:
        """Return whether a slot has no document in a step, and none after it."""
        return self._free[0][0] <= index

    def __len__(self) -> int:
        """Return the number of steps."""
        return self._length

    def __getitem__(self, index: int) -> tuple[Turn, ...]:  # type: ignore[override]
        """Return the turns of one step, by slot."""
        if not 0 <= index < self._length:
            raise IndexError(index)
        turns = (self._turn(slot, index) for slot in range(len(self._starts)))
        return tuple(turn for turn in turns if turn is not None)

    def _turn(self, slot: int, index: int) -> Turn | None:
        place = bisect_right(self._starts[slot], index) - 1
        if place < 0:
            return None
        document = self._documents[slot][place]
        step, last = index - self._starts[slot][place], self._num_steps[document] - 1
        return Turn(slot, document, step, step == 0, step == last) if step <= last else None
