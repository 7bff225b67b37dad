"""Processes that share the documents of an encoding, simulated by iterators that take turns."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prag_lightning.encoding.plan import EncodingSteps, EncodingTask, TrainingPrompt
from prag_lightning.encoding.schedule import Turn
from prag_lightning.encoding.sharing import Claim, SharedSteps
from tests.encoding.test_plan import ENCODER


def encoding(num_steps: Sequence[int], num_slots: int = 2) -> EncodingSteps:
    prompts = [TrainingPrompt("q", (), "a")] * max(num_steps, default=0)
    tasks = [EncodingTask(f"doc {i}", prompts[:steps]) for i, steps in enumerate(num_steps)]
    return EncodingSteps(tasks, num_slots, ENCODER)


@dataclass
class Board:
    """What processes claim and have encoded; a process ends documents as it takes its steps."""

    claims: dict[int, set[str]] = field(default_factory=dict)
    encoded: list[str] = field(default_factory=list)

    def process(self, number: int, steps: EncodingSteps) -> Iterator[None]:
        """Take the steps of one process."""

        def claim(document_ids: Sequence[str]) -> Claim:
            taken = set[str]().union(*(ids for n, ids in self.claims.items() if n != number))
            refused = set(document_ids) & taken
            granted = set(document_ids) - taken - set(self.encoded)
            self.claims.setdefault(number, set()).update(granted)
            return Claim(granted, refused)

        for turns in SharedSteps(steps, claim):
            for turn in turns:
                if turn.is_last:
                    name = steps.tasks[turn.document].document_id
                    self.encoded.append(name)
                    self.claims[number].remove(name)
            yield
        self.claims.pop(number, None)

    def kill(self, number: int) -> None:
        """Let the claims of a process end, as its lock does when it is dead."""
        self.claims.pop(number, None)


@given(st.lists(st.integers(1, 12), max_size=30), st.integers(1, 8))
@settings(max_examples=30)
def test_alone_the_steps_are_those_of_a_schedule_of_all_documents(
    num_steps: list[int], num_slots: int
) -> None:
    steps = encoding(num_steps, num_slots)
    asked = list[str]()

    def claim(document_ids: Sequence[str]) -> Claim:
        asked.extend(document_ids)
        return Claim(document_ids)

    shared = SharedSteps(steps, claim)
    expected: list[tuple[Turn, ...]] = list(steps.schedule)
    # A second time, as in a second call of `fit`.
    for sampler in (shared, shared, SharedSteps(steps)):
        assert list(sampler) == expected
    assert len(shared) == len(expected)
    assert asked == [task.document_id for task in steps.tasks] * 2
    assert shared.num_elsewhere == 0


@given(
    st.lists(st.integers(1, 6), max_size=40),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(0, 2**16),
)
@settings(max_examples=50)
def test_every_document_is_encoded_once_by_processes_that_share_them(
    num_steps: list[int], num_slots: int, num_processes: int, seed: int
) -> None:
    board, chance = Board(), random.Random(seed)
    steps = encoding(num_steps, num_slots)
    running = [board.process(number, steps) for number in range(num_processes)]
    while running:
        process = chance.choice(running)
        if next(process, "ended") == "ended":
            running.remove(process)
    assert sorted(board.encoded) == sorted(task.document_id for task in steps.tasks)


def test_what_a_dead_process_had_claimed_is_encoded_by_one_that_lives() -> None:
    board, steps = Board(), encoding([3] * 40, num_slots=4)
    dead, living = board.process(0, steps), board.process(1, steps)
    for _ in range(5):
        next(dead)
    assert len(board.claims[0]) == 4
    before = list(board.encoded)
    for _ in range(6):
        next(living)
    board.kill(0)
    list(living)
    assert sorted(board.encoded) == sorted(task.document_id for task in steps.tasks)
    assert len(before) == 4


def test_what_a_living_process_has_claimed_is_left_to_it() -> None:
    board, steps = Board(), encoding([3] * 40, num_slots=4)
    slow, fast = board.process(0, steps), board.process(1, steps)
    next(slow)
    list(fast)
    assert len(board.encoded) == 36
    list(slow)
    assert sorted(board.encoded) == sorted(task.document_id for task in steps.tasks)


@pytest.mark.parametrize("num_processes", [2, 3, 7])
def test_processes_side_by_side_end_at_about_the_same_time(num_processes: int) -> None:
    board, steps = Board(), encoding([4] * 300, num_slots=4)
    running = [board.process(number, steps) for number in range(num_processes)]
    num_rounds = [0] * num_processes
    for number, process in ((n, p) for _ in range(400) for n, p in enumerate(running)):
        num_rounds[number] += next(process, "ended") != "ended"
    assert len(board.encoded) == 300
    # Each step moves 4 of 1,200 on.
    assert max(num_rounds) <= 1.1 * 300 / num_processes + 8
