from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from prag_lightning.adapters.optimizer import StackedAdamW, clip_rows_

NUM_SLOTS, NUM_PARAMS = 4, 50
SETTINGS: list[dict[str, Any]] = [
    {"lr": 3e-4},
    {"lr": 0.02, "weight_decay": 0.3},
    {"lr": 1e-3, "betas": (0.5, 0.7), "eps": 1e-3, "weight_decay": 0.0},
]
# Which slots train at each step: all, some, one; slot 3 begins late.
STEPS: Sequence[tuple[int, ...]] = [(0, 1, 2), (1,), (0, 1, 2, 3), (2, 0), (3,), (0, 1, 2, 3)] * 5


def stack(dtype: torch.dtype = torch.float32) -> nn.Parameter:
    generator = torch.Generator().manual_seed(0)
    return nn.Parameter(torch.randn(NUM_SLOTS, NUM_PARAMS, generator=generator, dtype=dtype))


def gradient(step: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Gradients of all rows, of very different sizes, with zeros among them."""
    generator = torch.Generator().manual_seed(step)
    grad = torch.randn(NUM_SLOTS, NUM_PARAMS, generator=generator, dtype=dtype)
    return grad * torch.tensor([[1.0], [1e-6], [1e4], [0.1]], dtype=dtype) * (grad > -1)


def train(weight: nn.Parameter, **settings: Any) -> StackedAdamW:
    """Take the steps of ``STEPS``."""
    optimizer = StackedAdamW(weight, **settings)
    for step, slots in enumerate(STEPS):
        weight.grad = gradient(step, weight.dtype)
        optimizer.step(slots=slots)
    return optimizer


def train_alone(row: Tensor, slot: int, **settings: Any) -> Tensor:
    """Take a slot's steps of ``STEPS`` with torch's AdamW."""
    weight = nn.Parameter(row.clone())
    optimizer = torch.optim.AdamW([weight], foreach=False, **settings)
    for step, slots in enumerate(STEPS):
        if slot in slots:
            weight.grad = gradient(step, row.dtype)[slot]
            optimizer.step()
    return weight.detach()


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_row_moves_bit_for_bit_as_torch_s_adamw_moves_it_alone(
    settings: dict[str, Any], dtype: torch.dtype
) -> None:
    weight = stack(dtype)
    train(weight, **settings)
    for slot, start in enumerate(stack(dtype).detach()):
        expected = train_alone(start, slot, **settings)
        assert torch.equal(weight[slot], expected)
        assert (expected != start).all()


def test_a_slot_that_is_not_named_is_not_touched_whatever_its_gradient() -> None:
    weight = stack()
    optimizer = train(weight)
    state = (weight, optimizer.exp_avg, optimizer.exp_avg_sq)
    before = [place.detach().clone() for place in state]
    steps = list(optimizer.num_steps)
    weight.grad = torch.full_like(weight, float("nan"))
    weight.grad[2] = 1.0
    optimizer.step(slots=(2,))
    for place, old in zip(state, before, strict=True):
        assert torch.equal(place[[0, 1, 3]], old[[0, 1, 3]])
        assert not torch.equal(place[2], old[2])
        assert place.isfinite().all()
    assert optimizer.num_steps == [steps[0], steps[1], steps[2] + 1, steps[3]]


def test_a_gradient_that_is_not_finite_stays_in_its_row() -> None:
    clean, broken = stack(), stack()
    for weight in (clean, broken):
        weight.grad = gradient(0)
    assert broken.grad is not None
    broken.grad[1, 7] = float("inf")
    for weight in (clean, broken):
        StackedAdamW(weight).step()
    assert torch.equal(clean[[0, 2, 3]], broken[[0, 2, 3]])
    assert not broken[1, 7].isfinite()


def test_no_slot_named_is_no_step_and_none_given_is_a_step_of_all() -> None:
    weight = stack()
    optimizer = StackedAdamW(weight)
    weight.grad = gradient(0)
    optimizer.step(slots=())
    assert torch.equal(weight, stack())
    assert optimizer.num_steps == [0] * NUM_SLOTS
    optimizer.step()
    assert optimizer.num_steps == [1] * NUM_SLOTS
    assert (weight != stack()).any(dim=1).all()


def test_the_order_in_which_slots_are_named_does_not_matter() -> None:
    forwards, backwards = stack(), stack()
    for weight, slots in ((forwards, (0, 2, 3)), (backwards, (3, 2, 0))):
        optimizer = StackedAdamW(weight)
        for step in range(3):
            weight.grad = gradient(step)
            optimizer.step(slots=slots)
    assert torch.equal(forwards, backwards)


def test_a_slot_that_was_reset_trains_as_a_fresh_one_and_the_others_go_on() -> None:
    weight, kept = stack(), stack()
    optimizer, other = train(weight), train(kept)
    optimizer.reset(1)
    with torch.no_grad():
        weight[1] = stack()[1]
    fresh = stack()
    fresh_optimizer = StackedAdamW(fresh)
    for step in range(5):
        for parameter, adamw in ((weight, optimizer), (kept, other), (fresh, fresh_optimizer)):
            parameter.grad = gradient(step)
            adamw.step()
    assert torch.equal(weight[1], fresh[1])
    assert torch.equal(weight[[0, 2, 3]], kept[[0, 2, 3]])
    # With the old moments and counter it would have gone elsewhere.
    stale = stack()
    stale_optimizer = train(stale)
    with torch.no_grad():
        stale[1] = stack()[1]
    for step in range(5):
        stale.grad = gradient(step)
        stale_optimizer.step()
    assert not torch.allclose(stale[1], fresh[1])


def test_a_closure_is_called_with_gradients_on_and_its_loss_returned() -> None:
    weight = stack()

    def closure() -> Tensor:
        loss = weight.square().sum()
        loss.backward()
        return loss.detach()

    loss = StackedAdamW(weight).step(closure)
    assert loss == stack().square().sum()
    assert not torch.equal(weight, stack())


def test_the_learning_rate_may_be_changed_by_a_scheduler() -> None:
    weight, still = stack(), stack()
    for parameter, lr in ((weight, 0.1), (still, 0.0)):
        optimizer = StackedAdamW(parameter, lr=1.0)
        optimizer.param_groups[0]["lr"] = lr
        parameter.grad = gradient(0)
        optimizer.step()
    assert torch.equal(still, stack())
    assert (weight - stack()).abs().max().item() == pytest.approx(0.1, rel=0.05)


@pytest.mark.parametrize("max_norm", [1e-7, 1.0, 1e3, 1e9])
def test_every_row_is_clipped_as_torch_clips_it_alone(max_norm: float) -> None:
    grad = gradient(0, torch.float64)
    expected = []
    for row in gradient(0, torch.float64):
        alone = nn.Parameter(torch.zeros_like(row))
        alone.grad = row
        nn.utils.clip_grad_norm_([alone], max_norm)
        expected.append(alone.grad)
    clip_rows_(grad, max_norm)
    torch.testing.assert_close(grad, torch.stack(expected), rtol=1e-12, atol=0)
    norms = gradient(0, torch.float64).norm(dim=1)
    assert ((grad.norm(dim=1) <= max_norm) | (norms <= max_norm)).all()
    # A row that is short enough is as it was, to the bit.
    short = norms + 1e-6 <= max_norm
    assert torch.equal(grad[short], gradient(0, torch.float64)[short])


def test_clipping_a_row_that_is_not_finite_leaves_the_others() -> None:
    clean, broken = gradient(0), gradient(0)
    broken[2, 3] = float("nan")
    clip_rows_(clean, 0.5)
    clip_rows_(broken, 0.5)
    assert torch.equal(clean[[0, 1, 3]], broken[[0, 1, 3]])
    assert broken[2].isnan().all()
