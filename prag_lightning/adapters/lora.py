"""Low-rank updates of a linear layer: another adapter for each row, or each segment, of a batch."""

from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor


def add_to_rows(
    output: Tensor, x: Tensor, lora_A: Tensor, lora_B: Tensor, scaling: float
) -> Tensor:
    """Return a layer's output with every row's own update added.

    Args:
        output: What the layer gave, shape ``(rows, tokens, out_features)``.
        x: What it was given, shape ``(rows, tokens, in_features)``.
        lora_A: Shape ``(rows, rank, in_features)``.
        lora_B: Shape ``(rows, out_features, rank)``.
        scaling: ``alpha / rank``.

    Returns:
        Shape and dtype of ``output``; the update is computed in that dtype.

    Raises:
        ValueError: If there are not as many adapters as rows.
    """
    if len(output) != len(lora_A):
        raise ValueError(f"the batch has {len(output)} rows, but the route {len(lora_A)}")
    dtype = output.dtype
    down = torch.bmm(x.to(dtype), lora_A.to(dtype).transpose(1, 2))
    return torch.baddbmm(output, down, lora_B.to(dtype).transpose(1, 2), alpha=scaling)


def add_to_segments(
    output: Tensor,
    x: Tensor,
    lora_A: Tensor,
    lora_B: Tensor,
    slots: Tensor,
    lengths: tuple[int, ...],
    scaling: float,
) -> Tensor:
    """Return a layer's output with every segment's own update added.

    Args:
        output: What the layer gave, shape ``(1, tokens, out_features)``.
        x: What it was given, shape ``(1, tokens, in_features)``.
        lora_A: Of all slots, shape ``(num_slots, rank, in_features)``.
        lora_B: Of all slots, shape ``(num_slots, out_features, rank)``.
        slots: Each segment's slot, shape ``(segments, 1)``, on the CPU.
        lengths: Tokens of each segment, in their order in ``x``.
        scaling: ``alpha / rank``.

    Returns:
        Shape and dtype of ``output``; the update is computed in that dtype.
    """
    bounds = tuple(pairwise(accumulate(lengths, initial=0)))
    segments = tuple(zip(slots[:, 0].tolist(), bounds, strict=True))
    result: Tensor = _SegmentedLora.apply(output[0], x[0], lora_A, lora_B, segments, scaling)
    return result.unsqueeze(0)


Segments = tuple[tuple[int, tuple[int, int]], ...]


class _SegmentedLora(torch.autograd.Function):
    """A loop over segments, written out so that autograd sees one operation and not hundreds."""

    @staticmethod
    def forward(
        ctx: Any,
        output: Tensor,
        x: Tensor,
        lora_A: Tensor,
        lora_B: Tensor,
        segments: Segments,
        scaling: float,
    ) -> Tensor:
        dtype = output.dtype
        x, cast_A, cast_B = x.to(dtype), lora_A.to(dtype), lora_B.to(dtype)
        down = output.new_empty(len(x), lora_A.shape[1])
        result = torch.empty_like(output)
        for slot, (start, stop) in segments:
            torch.mm(x[start:stop], cast_A[slot].T, out=down[start:stop])
            torch.addmm(
                output[start:stop],
                down[start:stop],
                cast_B[slot].T,
                alpha=scaling,
                out=result[start:stop],
            )
        ctx.save_for_backward(x, down, lora_A, lora_B)
        ctx.segments, ctx.scaling = segments, scaling
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        x, down, lora_A, lora_B = ctx.saved_tensors
        dtype = grad.dtype
        cast_A, cast_B = lora_A.to(dtype), lora_B.to(dtype)
        grad_A, grad_B = torch.zeros_like(lora_A), torch.zeros_like(lora_B)
        grad_x = torch.empty_like(x) if ctx.needs_input_grad[1] else None
        for slot, (start, stop) in ctx.segments:
            scaled = grad[start:stop] * ctx.scaling
            grad_down = scaled @ cast_B[slot]
            grad_B[slot] += scaled.T @ down[start:stop]
            grad_A[slot] += grad_down.T @ x[start:stop]
            if grad_x is not None:
                torch.mm(grad_down, cast_A[slot], out=grad_x[start:stop])
        return grad, grad_x, grad_A, grad_B, None, None
