"""Low-rank updates of a linear layer's output: another adapter for each row or segment."""

from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor


def add_to_rows(
    output: Tensor, x: Tensor, lora_A: Tensor, lora_B: Tensor, scaling: float
) -> Tensor:
    """Add every row's own update to a layer's output, in place, and return it.

    Args:
        output: What the layer gave, shape ``(rows, tokens, out_features)``.
        x: What it was given, shape ``(rows, tokens, in_features)``.
        lora_A: Shape ``(rows, rank, in_features)``.
        lora_B: Shape ``(rows, out_features, rank)``.
        scaling: ``alpha / rank``.

    Raises:
        ValueError: If there are not as many adapters as rows.
    """
    _check_rows(len(output), len(lora_A))
    dtype = output.dtype
    down = torch.bmm(x.to(dtype), lora_A.to(dtype).transpose(1, 2))
    if torch.compiler.is_compiling():
        # The compiler adds this in passing, where it has the output in its hands anyway.
        update = (down.unsqueeze(2) * lora_B.to(dtype).unsqueeze(1)).sum(-1)
        return output + update * scaling
    return output.baddbmm_(down, lora_B.to(dtype).transpose(1, 2), alpha=scaling)


def add_to_segments(
    output: Tensor,
    x: Tensor,
    lora_A: Tensor,
    lora_B: Tensor,
    lengths: tuple[int, ...],
    scaling: float,
) -> Tensor:
    """Add every segment's own update to a layer's output, in place, and return it.

    Args:
        output: What the layer gave, shape ``(1, tokens, out_features)``.
        x: What it was given, shape ``(1, tokens, in_features)``.
        lora_A: Shape ``(segments, rank, in_features)``.
        lora_B: Shape ``(segments, out_features, rank)``.
        lengths: Tokens of each segment, in their order in ``x``.
        scaling: ``alpha / rank``.

    Raises:
        ValueError: If there are not as many adapters as segments, or if the segments are not all
            of the row's tokens.
    """
    _check_rows(len(lengths), len(lora_A))
    if output.shape[1] != sum(lengths):
        raise ValueError(f"the batch has {output.shape[1]} tokens, but the route {sum(lengths)}")
    dtype = output.dtype
    result: Tensor = _SegmentedLora.apply(
        output, x.to(dtype), lora_A.to(dtype), lora_B.to(dtype), lengths, scaling
    )
    return result


def _check_rows(rows: int, adapters: int) -> None:
    if rows != adapters:
        raise ValueError(f"the batch has {rows} rows, but the route {adapters}")


class _SegmentedLora(torch.autograd.Function):
    """A loop over segments, written out so that autograd sees one operation and not hundreds."""

    @staticmethod
    def forward(
        ctx: Any,
        output: Tensor,
        x: Tensor,
        lora_A: Tensor,
        lora_B: Tensor,
        lengths: tuple[int, ...],
        scaling: float,
    ) -> Tensor:
        down = output.new_empty(x.shape[1], lora_A.shape[1])
        for row, (start, stop) in enumerate(_bounds(lengths)):
            torch.mm(x[0, start:stop], lora_A[row].T, out=down[start:stop])
            output[0, start:stop].addmm_(down[start:stop], lora_B[row].T, alpha=scaling)
        ctx.mark_dirty(output)
        ctx.save_for_backward(x, down, lora_A, lora_B)
        ctx.lengths, ctx.scaling = lengths, scaling
        return output

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        x, down, lora_A, lora_B = ctx.saved_tensors
        grad_A, grad_B, grad_down = map(torch.empty_like, (lora_A, lora_B, down))
        grad_x = torch.empty_like(x) if ctx.needs_input_grad[1] else None
        for row, (start, stop) in enumerate(_bounds(ctx.lengths)):
            part, part_down = grad[0, start:stop], grad_down[start:stop]
            torch.mm(part.T, down[start:stop], out=grad_B[row])
            # The narrow factor is scaled, not the wide one.
            torch.mm(part, lora_B[row], out=part_down).mul_(ctx.scaling)
            torch.mm(part_down.T, x[0, start:stop], out=grad_A[row])
            if grad_x is not None:
                torch.mm(part_down, lora_A[row], out=grad_x[0, start:stop])
        grad_B.mul_(ctx.scaling)
        return grad, grad_x, grad_A, grad_B, None, None


def _bounds(lengths: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    return tuple(pairwise(accumulate(lengths, initial=0)))
