from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prag_lightning.encoding.batches import EncodingBatch, Row, collate_encoding, like_lengths

TENSORS = ("input_ids", "position_ids", "loss_positions", "targets", "loss_documents")

# Two prompts in slot 1; the last carries loss from its third token on.
ROWS = [Row(0, [10, 11, 12], 0), Row(1, [20, 21], 0), Row(1, [30, 31, 32, 33, 34], 2)]


def batch(packed: bool, rows: list[Row] = ROWS) -> EncodingBatch:
    documents = {0: "a", 1: "b", 3: "c"}
    return collate_encoding(rows, packed, {1: "b"}, {0: "a", 3: "c"}, documents)


def whole(one: EncodingBatch, name: str) -> list[int]:
    """One of the tensors of all parts, flat."""
    return [number for part in one.parts for number in getattr(part, name).flatten().tolist()]


def test_packed_prompts_stand_behind_each_other_and_count_from_0() -> None:
    (packed,) = batch(True).parts
    assert packed.lengths == (3, 2, 5)
    assert packed.input_ids.tolist() == [[10, 11, 12, 20, 21, 30, 31, 32, 33, 34]]
    assert packed.position_ids.tolist() == [[0, 1, 2, 0, 1, 0, 1, 2, 3, 4]]
    assert packed.loss_positions.tolist() == [0, 1, 3, 6, 7, 8]


def test_padded_prompts_stand_at_the_left_of_rows_of_one_length() -> None:
    rows = [Row(n, list(range(10 * n, 10 * n + length)), 2 * n) for n, length in ((1, 39), (2, 40))]
    (padded,) = batch(False, rows).parts
    # The longest first.
    assert padded.input_ids.tolist() == [list(range(20, 60)), [*range(10, 49), 0]]
    assert padded.position_ids.tolist() == [list(range(40))] * 2
    assert padded.loss_positions.tolist() == [*range(3, 39), *range(41, 78)]
    assert (padded.lengths, padded.loss_documents.tolist()) == (None, [1] * 36 + [0] * 37)


@given(st.lists(st.integers(1, 300), min_size=1, max_size=40))
def test_rows_of_like_length_stand_together_with_little_padding(lengths: list[int]) -> None:
    rows = [Row(slot, [0] * length, 0) for slot, length in enumerate(lengths)]
    groups = like_lengths(rows)
    assert sorted(row.slot for group in groups for row in group) == list(range(len(rows)))
    by_length = [len(row.ids) for group in groups for row in group]
    assert by_length == sorted(lengths, reverse=True)
    for group in groups:
        assert sum(len(row.ids) for row in group) > 0.95 * len(group[0].ids) * len(group) - 1e-9
    # One row more would be too much.
    for group, (shorter, *_) in pairwise(groups):
        together = sum(len(row.ids) for row in [*group, shorter])
        assert together <= 0.95 * len(group[0].ids) * (len(group) + 1) + 1e-9


def test_rows_of_one_length_are_one_group() -> None:
    assert len(like_lengths([Row(slot, [0] * 7, 0) for slot in range(64)])) == 1
    # 20 rows have room for 1 - 0.05 of them of padding.
    assert len(like_lengths([Row(n, [0] * (100 - 9 * (n % 2)), 0) for n in range(20)])) == 1
    assert len(like_lengths([Row(n, [0] * (100 - 11 * (n % 2)), 0) for n in range(20)])) == 2


@pytest.mark.parametrize("packed", [True, False])
def test_a_target_is_the_next_token_of_the_same_prompt(packed: bool) -> None:
    one = batch(packed)
    for part in one.parts:
        flat = part.input_ids.flatten()
        assert torch.equal(flat[part.loss_positions + 1], part.targets)
        # A prompt's number stands in its tokens' tens: no target is another prompt's.
        assert torch.equal(flat[part.loss_positions] // 10, part.targets // 10)
    assert sorted(whole(one, "targets")) == [11, 12, 21, 32, 33, 34]
    assert dict(zip(whole(one, "targets"), whole(one, "loss_documents"), strict=True)) == {
        **{11: 0, 12: 0},
        **{21: 1, 32: 1, 33: 1, 34: 1},
    }
    assert one.loss_counts.tolist() == [2, 4]


def test_packed_and_padded_hold_the_same_predictions() -> None:
    def predictions(one: EncodingBatch) -> list[tuple[int, ...]]:
        read = [
            torch.stack(
                [t.flatten()[part.loss_positions] for t in (part.input_ids, part.position_ids)]
                + [part.targets, part.loss_documents]
            )
            for part in one.parts
        ]
        return sorted(tuple(column) for column in torch.cat(read, dim=1).T.tolist())

    assert predictions(batch(True)) == predictions(batch(False))
    assert len(batch(False).parts) == 3


@pytest.mark.parametrize("packed", [True, False])
def test_slots_and_tokens_are_counted_without_padding(packed: bool) -> None:
    rows = [Row(0, [1] * 100, 0), Row(3, [1] * 97, 0), Row(3, [1] * 10, 0)]
    one = batch(packed, rows)
    assert one.slots == (0, 3)
    assert one.num_tokens == 207
    assert one.num_places == (207 if packed else 210)


@pytest.mark.parametrize("packed", [True, False])
def test_a_part_of_a_batch_is_the_batch_of_those_slots_alone(packed: bool) -> None:
    part = batch(packed).of_slots([1])
    alone = batch(packed, ROWS[1:])
    assert len(part.parts) == len(alone.parts)
    for name in TENSORS:
        assert whole(part, name) == whole(alone, name)
    assert (part.slots, part.rows, part.packed) == ((1,), ROWS[1:], packed)
    assert (part.begins, part.ends, part.documents) == ({1: "b"}, {}, {1: "b"})


@pytest.mark.parametrize("packed", [True, False])
def test_the_parts_of_a_batch_hold_all_of_it_once(packed: bool) -> None:
    one = batch(packed)
    parts = [one.of_slots([slot]) for slot in one.slots]
    targets = [target for part in parts for target in whole(part, "targets")]
    assert sorted(targets) == sorted(whole(one, "targets"))
    assert [row for part in parts for row in part.rows] == one.rows
    assert sum(len(part.begins) for part in parts) == len(one.begins)


def test_a_batch_moves_with_its_tensors_and_keeps_the_rest() -> None:
    one = batch(True)
    moved = one.to(torch.device("meta"))
    for name in TENSORS:
        assert getattr(moved.parts[0], name).device.type == "meta"
        assert getattr(one.parts[0], name).device.type == "cpu"
    assert moved.loss_counts.device.type == "meta"
    assert (moved.rows, moved.begins, moved.ends) == (one.rows, one.begins, one.ends)


def test_a_prompt_of_one_token_predicts_nothing() -> None:
    one = batch(True, [Row(0, [10], 0), Row(1, [20, 21], 0)])
    assert whole(one, "targets") == [21]
    assert whole(one, "loss_documents") == [1]
