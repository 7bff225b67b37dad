"""AdamW for a bank, with one step counter per slot; only the slots that trained are updated."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class StackedAdamW(torch.optim.Optimizer):
    """AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101) over the rows of one matrix.

    Each row is updated exactly as ``torch.optim.AdamW`` would update it alone, with the same order
    of operations. Its values do not depend on the other rows or on when those started.

    Args:
        weight: Shape ``(num_slots, num_params)``.
        lr: Learning rate.
        betas: Decay rates of the two moments.
        eps: Added to the denominator.
        weight_decay: Decoupled weight decay coefficient.
    """

    def __init__(
        self,
        weight: nn.Parameter,
        lr: float = 3e-4,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__([weight], defaults)
        self.resize(weight)

    def resize(self, weight: nn.Parameter) -> None:
        """Switch to another matrix, and discard all optimizer state.

        Args:
            weight: Shape ``(num_slots, num_params)``.
        """
        self.param_groups[0]["params"] = [weight]
        self.weight = weight
        self.num_steps = [0] * len(weight)
        self.exp_avg = torch.zeros_like(weight)
        self.exp_avg_sq = torch.zeros_like(weight)

    def reset(self, slot: int) -> None:
        """Discard a slot's optimizer state."""
        self.num_steps[slot] = 0
        self.exp_avg[slot].zero_()
        self.exp_avg_sq[slot].zero_()

    @torch.no_grad()
    def step(
        self, closure: Callable[[], Any] | None = None, *, slots: tuple[int, ...] | None = None
    ) -> Any:
        """Perform one optimization step on ``slots``.

        Args:
            closure: Recomputes the loss, as in ``torch.optim.Optimizer.step``.
            slots: Slots to update; None means all of them.
        """
        result = None
        if closure is not None:
            with torch.enable_grad():
                result = closure()
        if slots is None or len(slots) == len(self.weight):
            slots = tuple(range(len(self.weight)))
            tensors = (self.weight, self.weight.grad, self.exp_avg, self.exp_avg_sq)
            self._update(slots, *tensors)  # type: ignore[arg-type]
        elif slots:
            index = torch.tensor(slots).to(self.weight.device, non_blocking=True)
            places = (self.weight, self.exp_avg, self.exp_avg_sq)
            weight, exp_avg, exp_avg_sq = (place[index] for place in places)
            assert self.weight.grad is not None
            self._update(slots, weight, self.weight.grad[index], exp_avg, exp_avg_sq)
            for place, rows in zip(places, (weight, exp_avg, exp_avg_sq), strict=True):
                place.index_copy_(0, index, rows)
        return result

    def _update(
        self,
        slots: tuple[int, ...],
        weight: Tensor,
        grad: Tensor,
        exp_avg: Tensor,
        exp_avg_sq: Tensor,
    ) -> None:
        """Update rows of shape ``(len(slots), num_params)`` in place."""
        group = self.param_groups[0]
        lr, (beta1, beta2) = group["lr"], group["betas"]
        for slot in slots:
            self.num_steps[slot] += 1
        steps = [self.num_steps[slot] for slot in slots]
        # Computed as Python floats and rounded once, as in torch.
        step_sizes = [lr / (1 - beta1**step) for step in steps]
        roots = [(1 - beta2**step) ** 0.5 for step in steps]
        corrections = torch.tensor([step_sizes, roots], dtype=weight.dtype)[:, :, None]
        # Non-blocking, so that the CPU does not wait for the device.
        step_size, root = corrections.to(weight.device, non_blocking=True)
        weight.mul_(1 - lr * group["weight_decay"])
        exp_avg.lerp_(grad, 1 - beta1)
        exp_avg_sq.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        denominator = exp_avg_sq.sqrt().div_(root).add_(group["eps"])
        weight.sub_((exp_avg * step_size).div_(denominator))


@torch.no_grad()
def clip_rows_(grad: Tensor, max_norm: float) -> None:
    """Clip the norm of each row of ``grad``, shape ``(num_slots, num_params)``, to ``max_norm``.

    Args:
        grad: Shape ``(num_slots, num_params)``; modified in place.
        max_norm: Maximum norm of a row.
    """
    norms = torch.linalg.vector_norm(grad, dim=1, keepdim=True)
    grad.mul_((max_norm / (norms + 1e-6)).clamp(max=1.0))
