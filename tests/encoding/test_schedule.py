import pytest
from hypothesis import given
from hypothesis import strategies as st

from prag_lightning.encoding.schedule import Schedule, Turn

NUM_STEPS = st.lists(st.integers(1, 12), max_size=30)
NUM_SLOTS = st.integers(1, 8)


@given(NUM_STEPS, NUM_SLOTS)
def test_every_document_takes_all_its_steps_once_in_order_without_a_break_in_one_slot(
    num_steps: list[int], num_slots: int
) -> None:
    schedule = Schedule(num_steps, num_slots)
    turns = [(time, turn) for time, step in enumerate(schedule) for turn in step]
    for document, count in enumerate(num_steps):
        own = [(time, turn) for time, turn in turns if turn.document == document]
        start, slot = own[0][0], own[0][1].slot
        assert own == [
            (start + step, Turn(slot, document, step, step == 0, step == count - 1))
            for step in range(count)
        ]
    assert len(turns) == sum(num_steps)


@given(NUM_STEPS, NUM_SLOTS)
def test_a_slot_holds_one_document_at_a_time_and_turns_stand_by_slot(
    num_steps: list[int], num_slots: int
) -> None:
    for turns in Schedule(num_steps, num_slots):
        slots = [turn.slot for turn in turns]
        assert slots == sorted(set(slots))
        assert set(slots) <= set(range(num_slots))
        assert turns


@given(NUM_STEPS, NUM_SLOTS)
def test_no_slot_is_idle_while_documents_wait_and_they_begin_in_order(
    num_steps: list[int], num_slots: int
) -> None:
    begun = 0
    for turns in Schedule(num_steps, num_slots):
        first = sorted(turn.document for turn in turns if turn.is_first)
        assert first == list(range(begun, begun + len(first)))
        begun += len(first)
        assert len(turns) == num_slots or begun == len(num_steps)


@given(NUM_STEPS, NUM_SLOTS)
def test_slots_are_idle_for_less_than_the_longest_document_at_the_end(
    num_steps: list[int], num_slots: int
) -> None:
    idle = len(Schedule(num_steps, num_slots)) * num_slots - sum(num_steps)
    assert idle <= (num_slots - 1) * max(num_steps, default=0)


def test_documents_of_equal_length_keep_all_slots_busy() -> None:
    assert len(Schedule([5] * 12, 4)) == 15


def test_lengths_in_waves_would_wait_where_the_schedule_goes_on() -> None:
    # In waves of two, 9 steps and then 9 more: a slot that is done waits for its neighbour.
    schedule = Schedule([9, 1, 1, 9], 2)
    assert len(schedule) == 11
    assert [turn.document for turn in schedule[2]] == [0, 3]


def test_no_documents_are_no_steps() -> None:
    assert len(Schedule([], 3)) == 0
    assert list(Schedule([], 3)) == []


@pytest.mark.parametrize("index", [-1, 4, 100])
def test_a_step_outside_the_schedule_is_an_index_error(index: int) -> None:
    with pytest.raises(IndexError, match=str(index)):
        Schedule([4], 2)[index]
