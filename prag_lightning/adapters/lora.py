"""Low-rank updates of a linear layer's output, with a separate adapter per row or segment."""

from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor


def add_to_rows(
    output: Tensor, x: Tensor, lora_A: Tensor, lora_B: Tensor, scaling: float
) -> Tensor:
    """Add each row's own update to a layer's output, in place, and return it.

    Args:
        output: The layer's output, shape ``(rows, tokens, out_features)``; the first two dimensions
            may be arranged otherwise, as long as they hold the same tokens in order.
        x: The layer's input, of the same shape but with ``in_features``.
        lora_A: Shape ``(rows, rank, in_features)``.
        lora_B: Shape ``(rows, out_features, rank)``.
        scaling: ``alpha / rank``.

    Raises:
        ValueError: If the number of adapters differs from the number of rows.
    """
    if output.dim() != 3:
        rows, given = (t.reshape(len(lora_A), -1, t.shape[-1]) for t in (output, x))
        return add_to_rows(rows, given, lora_A, lora_B, scaling).view(output.shape)
    _check_rows(len(output), len(lora_A))
    dtype = output.dtype
    down = torch.bmm(x.to(dtype), lora_A.to(dtype).transpose(1, 2))
    return output.baddbmm_(down, lora_B.to(dtype).transpose(1, 2), alpha=scaling)


def add_to_segments(
    output: Tensor,
    x: Tensor,
    lora_A: Tensor,
    lora_B: Tensor,
    lengths: tuple[int, ...],
    scaling: float,
) -> Tensor:
    """Add each segment's own update to a layer's output, in place, and return it.

    Args:
        output: The layer's output, shape ``(1, tokens, out_features)``; the number of leading
            dimensions of size 1 may differ.
        x: The layer's input, of the same shape but with ``in_features``.
        lora_A: Shape ``(segments, rank, in_features)``.
        lora_B: Shape ``(segments, out_features, rank)``.
        lengths: Token counts of the segments, in their order in ``x``.
        scaling: ``alpha / rank``.

    Raises:
        ValueError: If the number of adapters differs from the number of segments, or the segments
            do not cover all tokens of the row.
    """
    if output.dim() != 3:
        row, given = (t.reshape(1, -1, t.shape[-1]) for t in (output, x))
        return add_to_segments(row, given, lora_A, lora_B, lengths, scaling).view(output.shape)
    if sum(lengths) != x.shape[1]:
        raise ValueError(f"the batch has {x.shape[1]} tokens, but the route {sum(lengths)}")
    _check_rows(len(lengths), len(lora_A))
    dtype = output.dtype
    if len(lengths) == 1:
        # The same operations as in PEFT, for bit-identical results.
        down = torch.nn.functional.linear(x.to(dtype), lora_A[0].to(dtype))
        return output + torch.nn.functional.linear(down, lora_B[0].to(dtype)) * scaling
    up = lora_B.to(dtype).transpose(1, 2).contiguous()
    result: Tensor = _SegmentedLora.apply(
        output, x.to(dtype), lora_A.to(dtype), up, lengths, scaling
    )
    return result


def _check_rows(rows: int, adapters: int) -> None:
    if rows != adapters:
        raise ValueError(f"the batch has {rows} rows, but the route {adapters}")


class _SegmentedLora(torch.autograd.Function):
    """A loop over segments as a single autograd operation instead of hundreds.

    Narrow factors have shape (rank, n) and are the left operand: on a CPU, multiplying such a
    factor by a wide matrix takes a fraction of the time of the transposed product.
    """

    @staticmethod
    def forward(
        ctx: Any,
        output: Tensor,
        x: Tensor,
        lora_A: Tensor,
        up: Tensor,
        lengths: tuple[int, ...],
        scaling: float,
    ) -> Tensor:
        down = output.new_empty(lora_A.shape[1], x.shape[1])
        for row, (start, stop) in enumerate(_bounds(lengths)):
            part = down[:, start:stop]
            torch.mm(lora_A[row], x[0, start:stop].T, out=part)
            output[0, start:stop].addmm_(part.T, up[row], alpha=scaling)
        ctx.mark_dirty(output)
        ctx.save_for_backward(x, down, lora_A, up)
        ctx.lengths, ctx.scaling = lengths, scaling
        return output

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        x, down, lora_A, up = ctx.saved_tensors
        grad_A, grad_up = torch.empty_like(lora_A), torch.empty_like(up)
        grad_x = torch.empty_like(x) if ctx.needs_input_grad[1] else None
        for row, (start, stop) in enumerate(_bounds(ctx.lengths)):
            part = grad[0, start:stop]
            torch.mm(down[:, start:stop], part, out=grad_up[row]).mul_(ctx.scaling)
            grad_down = torch.mm(up[row], part.T).mul_(ctx.scaling)
            torch.mm(grad_down, x[0, start:stop], out=grad_A[row])
            if grad_x is not None:
                torch.mm(grad_down.T, lora_A[row], out=grad_x[0, start:stop])
        return grad, grad_x, grad_A, grad_up, None, None


def _bounds(lengths: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    return tuple(pairwise(accumulate(lengths, initial=0)))
