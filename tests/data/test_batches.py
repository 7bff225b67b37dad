import pytest
import torch

from prag_lightning.data.batches import EncodingBatch, Row, collate_encoding

# Two prompts in slot 1; the last carries loss from its third token on.
ROWS = [Row(0, [10, 11, 12], 0), Row(1, [20, 21], 0), Row(1, [30, 31, 32, 33, 34], 2)]


def batch(packed: bool, rows: list[Row] = ROWS) -> EncodingBatch:
    documents = {0: "a", 1: "b", 3: "c"}
    return collate_encoding(rows, packed, {1: "b"}, {0: "a", 3: "c"}, documents)


def test_packed_prompts_stand_behind_each_other_and_count_from_0() -> None:
    packed = batch(True)
    assert packed.input_ids.tolist() == [[10, 11, 12, 20, 21, 30, 31, 32, 33, 34]]
    assert packed.position_ids.tolist() == [[0, 1, 2, 0, 1, 0, 1, 2, 3, 4]]
    assert packed.loss_positions.tolist() == [0, 1, 3, 6, 7, 8]


def test_padded_prompts_stand_at_the_left_of_rows_of_one_length() -> None:
    padded = batch(False)
    rows = [row[: len(one.ids)] for row, one in zip(padded.input_ids.tolist(), ROWS, strict=True)]
    assert rows == [row.ids for row in ROWS]
    assert padded.position_ids.tolist() == [list(range(5))] * 3
    assert padded.loss_positions.tolist() == [0, 1, 5, 11, 12, 13]


@pytest.mark.parametrize("packed", [True, False])
def test_a_target_is_the_next_token_of_the_same_prompt(packed: bool) -> None:
    one = batch(packed)
    flat = one.input_ids.flatten()
    assert one.targets.tolist() == [11, 12, 21, 32, 33, 34]
    assert torch.equal(flat[one.loss_positions + 1], one.targets)
    # A prompt's number stands in its tokens' tens: no target is another prompt's.
    assert torch.equal(flat[one.loss_positions] // 10, one.targets // 10)
    assert one.loss_documents.tolist() == [0, 0, 1, 1, 1, 1]


def test_packed_and_padded_hold_the_same_predictions() -> None:
    packed, padded = batch(True), batch(False)
    for name in ("targets", "loss_documents"):
        assert torch.equal(getattr(packed, name), getattr(padded, name))
    for tokens in ("input_ids", "position_ids"):
        first, second = (getattr(b, tokens).flatten()[b.loss_positions] for b in (packed, padded))
        assert torch.equal(first, second)


@pytest.mark.parametrize("packed", [True, False])
def test_slots_and_tokens_are_counted_without_padding(packed: bool) -> None:
    one = batch(packed)
    assert one.slots == (0, 1)
    assert one.num_tokens == 10
    assert one.input_ids.numel() == (10 if packed else 15)


@pytest.mark.parametrize("packed", [True, False])
def test_a_part_of_a_batch_is_the_batch_of_those_slots_alone(packed: bool) -> None:
    part = batch(packed).of_slots([1])
    alone = batch(packed, ROWS[1:])
    for name in ("input_ids", "position_ids", "loss_positions", "targets", "loss_documents"):
        assert torch.equal(getattr(part, name), getattr(alone, name))
    assert (part.slots, part.rows, part.packed) == ((1,), ROWS[1:], packed)
    assert (part.begins, part.ends, part.documents) == ({1: "b"}, {}, {1: "b"})


@pytest.mark.parametrize("packed", [True, False])
def test_the_parts_of_a_batch_hold_all_of_it_once(packed: bool) -> None:
    whole = batch(packed)
    parts = [whole.of_slots([slot]) for slot in whole.slots]
    assert torch.equal(torch.cat([part.targets for part in parts]), whole.targets)
    assert [row for part in parts for row in part.rows] == whole.rows
    assert sum(len(part.begins) for part in parts) == len(whole.begins)


def test_a_batch_moves_with_its_tensors_and_keeps_the_rest() -> None:
    one = batch(True)
    moved = one.to(torch.device("meta"))
    for name in ("input_ids", "position_ids", "loss_positions", "targets", "loss_documents"):
        assert getattr(moved, name).device.type == "meta"
        assert getattr(one, name).device.type == "cpu"
    assert (moved.rows, moved.begins, moved.ends) == (one.rows, one.begins, one.ends)


def test_a_prompt_of_one_token_predicts_nothing() -> None:
    one = batch(True, [Row(0, [10], 0), Row(1, [20, 21], 0)])
    assert one.targets.tolist() == [21]
    assert one.loss_documents.tolist() == [1]
