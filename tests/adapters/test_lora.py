from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from prag_lightning.adapters.lora import add_to_rows, add_to_segments

NUM_SLOTS, RANK, IN_FEATURES, OUT_FEATURES, SCALING = 4, 2, 6, 5, 1.7
SLOTS, LENGTHS = (2, 0, 2, 3), (3, 1, 4, 2)


def tensor(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()


def problem(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Output and input of a layer in one packed row, and the adapters of all slots."""
    tokens = sum(LENGTHS)
    return (
        tensor(1, tokens, OUT_FEATURES, seed=1, dtype=dtype),
        tensor(1, tokens, IN_FEATURES, seed=2, dtype=dtype),
        tensor(NUM_SLOTS, RANK, IN_FEATURES, seed=3),
        tensor(NUM_SLOTS, OUT_FEATURES, RANK, seed=4),
    )


def by_dense_weights(
    output: Tensor, x: Tensor, lora_A: Tensor, lora_B: Tensor, slots: Sequence[int]
) -> Tensor:
    """Each token with its own slot's update of the weight, written out as a matrix."""
    updates = [SCALING * lora_B[slot] @ lora_A[slot] for slot in slots]
    token_slots = [update for update, n in zip(updates, LENGTHS, strict=True) for _ in range(n)]
    rows = [output[0, i] + update @ x[0, i] for i, update in enumerate(token_slots)]
    return torch.stack(rows)[None]


def segments(
    output: Tensor, x: Tensor, lora_A: Tensor, lora_B: Tensor, slots: Sequence[int] = SLOTS
) -> Tensor:
    places = torch.tensor(slots)
    # A copy, for the update is added in place.
    return add_to_segments(output * 1, x, lora_A[places], lora_B[places], LENGTHS, SCALING)


def rows(output: Tensor, x: Tensor, lora_A: Tensor, lora_B: Tensor) -> Tensor:
    return add_to_rows(output * 1, x, lora_A, lora_B, SCALING)


def gradients(result: Tensor, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    weights = torch.linspace(-1, 1, result.numel(), dtype=result.dtype).view_as(result)
    return torch.autograd.grad((result * weights).sum(), inputs)


def test_segments_equal_dense_updates_of_the_weight_with_their_gradients() -> None:
    inputs = problem()
    found, expected = segments(*inputs), by_dense_weights(*inputs, SLOTS)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    for grad, expected_grad in zip(
        gradients(found, inputs), gradients(expected, inputs), strict=True
    ):
        torch.testing.assert_close(grad, expected_grad, rtol=1e-12, atol=1e-12)
    assert (found - inputs[0]).abs().max() > 0.1


def test_rows_equal_segments_of_the_same_prompts() -> None:
    output, x, lora_A, lora_B = problem()
    packed = segments(output, x, lora_A, lora_B)[0].split(LENGTHS)
    padded_output, padded_x = (
        torch.nn.utils.rnn.pad_sequence(list(t[0].split(LENGTHS)), batch_first=True)
        for t in (output, x)
    )
    places = torch.tensor(SLOTS)
    padded = rows(padded_output, padded_x, lora_A[places], lora_B[places])
    for row, segment in zip(padded, packed, strict=True):
        torch.testing.assert_close(row[: len(segment)], segment, rtol=1e-12, atol=1e-12)


def test_segments_have_the_derivatives_that_finite_differences_give() -> None:
    assert torch.autograd.gradcheck(segments, problem())


def test_rows_have_the_derivatives_that_finite_differences_give() -> None:
    inputs = tensor(2, 3, 5), tensor(2, 3, 6, seed=1), tensor(2, 2, 6, seed=2), tensor(2, 5, 2)
    assert torch.autograd.gradcheck(rows, inputs)


def test_a_slot_that_no_segment_uses_has_no_gradient_and_one_used_twice_has_both() -> None:
    inputs = problem()
    _, _, grad_A, grad_B = gradients(segments(*inputs), inputs)
    assert not grad_A[1].any()
    assert not grad_B[1].any()
    # Slot 2 trains on the first and the third segment: moved to a slot of its own, the third
    # segment takes its share along.
    output, x, lora_A, lora_B = (t.detach().clone().requires_grad_() for t in inputs)
    with torch.no_grad():
        lora_A[1], lora_B[1] = lora_A[2], lora_B[2]
    apart = segments(output, x, lora_A, lora_B, (2, 0, 1, 3))
    _, _, apart_A, apart_B = gradients(apart, (output, x, lora_A, lora_B))
    torch.testing.assert_close(apart_A[1] + apart_A[2], grad_A[2])
    torch.testing.assert_close(apart_B[1] + apart_B[2], grad_B[2])
    assert apart_A[1].any()


def test_an_input_that_needs_no_gradient_gets_none_and_changes_no_other() -> None:
    output, x, lora_A, lora_B = problem()
    _, _, *expected = gradients(segments(output, x, lora_A, lora_B), (output, x, lora_A, lora_B))
    result = segments(output.detach(), x.detach(), lora_A, lora_B)
    for grad, same in zip(gradients(result, (lora_A, lora_B)), expected, strict=True):
        assert torch.equal(grad, same)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_result_has_the_layer_s_dtype_and_gradients_the_adapters(dtype: torch.dtype) -> None:
    inputs = problem(dtype)
    exact = by_dense_weights(*problem(), SLOTS)
    result = segments(*inputs)
    assert result.dtype == dtype
    assert (result - exact).norm() < 20 * torch.finfo(dtype).eps * exact.norm()
    grads = gradients(result, inputs)
    assert [grad.dtype for grad in grads] == [dtype, dtype, torch.float64, torch.float64]
    places = torch.tensor([1])
    assert rows(*inputs[:2], inputs[2][places], inputs[3][places]).dtype == dtype


def test_a_segment_that_is_not_finite_leaves_the_others_and_their_slots() -> None:
    clean = problem()
    broken = problem()
    with torch.no_grad():
        broken[1][0, LENGTHS[0]] = float("nan")
    expected, found = segments(*clean), segments(*broken)
    others = torch.arange(sum(LENGTHS)) != LENGTHS[0]
    assert torch.equal(found[:, others], expected[:, others])
    grads = gradients(found, broken)[2:], gradients(expected, clean)[2:]
    for grad, clean_grad in zip(*grads, strict=True):
        assert torch.equal(grad[[2, 3]], clean_grad[[2, 3]])
    assert found[0, LENGTHS[0]].isnan().all()


def test_more_rows_than_adapters_are_refused() -> None:
    output, x = tensor(3, 2, OUT_FEATURES), tensor(3, 2, IN_FEATURES)
    with pytest.raises(ValueError, match="the batch has 3 rows, but the route 2"):
        rows(output, x, tensor(2, 2, IN_FEATURES), tensor(2, OUT_FEATURES, 2))


def test_segments_that_are_not_the_row_s_tokens_are_refused() -> None:
    output, x, lora_A, lora_B = problem()
    with pytest.raises(ValueError, match="the batch has 9 tokens, but the route 10"):
        segments(output[:, :-1], x[:, :-1], lora_A, lora_B)


# As OPT gives its MLP, and DeepSeek one part of its attention.
@pytest.mark.parametrize("flat", [(8,), (1, 1, 8)])
def test_other_dimensions_of_a_packed_row_stand_for_the_same_tokens(flat: tuple[int, ...]) -> None:
    output, x, lora_A, lora_B = problem()
    lengths = (3, 1, 4)
    a, b = lora_A[:3], lora_B[:3]
    output, x = output[:, :8].detach(), x[:, :8].detach()
    expected = add_to_segments(output * 1, x, a, b, lengths, SCALING)
    flat_output, flat_x = output.reshape(*flat, OUT_FEATURES), x.reshape(*flat, IN_FEATURES)
    found = add_to_segments(flat_output * 1, flat_x, a, b, lengths, SCALING)
    assert found.shape == (*flat, OUT_FEATURES)
    assert torch.equal(found.view(expected.shape), expected)


@pytest.mark.parametrize("flat", [(8,), (2, 1, 4)])
def test_other_dimensions_of_rows_stand_for_the_same_tokens(flat: tuple[int, ...]) -> None:
    output, x = tensor(2, 4, OUT_FEATURES, seed=1), tensor(2, 4, IN_FEATURES, seed=2)
    _, _, lora_A, lora_B = problem()
    expected = add_to_rows(output * 1, x, lora_A[:2], lora_B[:2], SCALING)
    flat_output, flat_x = output.reshape(*flat, OUT_FEATURES), x.reshape(*flat, IN_FEATURES)
    found = add_to_rows(flat_output * 1, flat_x, lora_A[:2], lora_B[:2], SCALING)
    assert found.shape == (*flat, OUT_FEATURES)
    assert torch.equal(found.view(expected.shape), expected)
