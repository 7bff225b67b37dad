"""Negative log-likelihoods of tokens, a few logits at a time."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from prag_lightning.language_model.logits import Head

ChunkNLL = Callable[[Tensor, Head, Tensor, bool], tuple[Tensor, Tensor | None]]

# Logits that exist at once, in bytes: beyond this larger products are no faster.
CHUNK_BYTES = {"cpu": 2**26, "cuda": 2**29}


def token_nll(
    hidden: Tensor,
    head: Head,
    targets: Tensor,
    chunk_bytes: int | None = None,
    compile: bool = False,
) -> Tensor:
    """Return each token's negative log-likelihood, never holding all logits at once.

    The head is frozen, so the gradient of ``hidden`` can be made chunk by chunk while the logits
    exist; memory is that of a few chunks, whatever the vocabulary.

    Args:
        hidden: Last hidden states, shape ``(tokens, hidden_size)``.
        head: The language model's output layer, see ``head_of``.
        targets: The token that follows each of them, shape ``(tokens,)``.
        chunk_bytes: How large the logits of a chunk may be, in float32 bytes; by default as
            large as makes the device fast.
        compile: Compile what is done with a chunk.

    Returns:
        Shape ``(tokens,)``, float32, or float64 for float64 ``hidden``.
    """
    wide = _wide(hidden.dtype)
    chunk_bytes = chunk_bytes or CHUNK_BYTES.get(hidden.device.type, CHUNK_BYTES["cpu"])
    rows = max(1, chunk_bytes // (len(head.weight) * wide.itemsize))
    of_chunk = _compiled_chunk_nll() if compile else _chunk_nll
    losses: Tensor = _ChunkedNLL.apply(hidden, head, targets, rows, of_chunk)
    return losses


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _chunk_nll(
    hidden: Tensor, head: Head, targets: Tensor, needs_grad: bool
) -> tuple[Tensor, Tensor | None]:
    """Return a chunk's losses, and the gradients of its hidden states, in float32 or float64."""
    logits = head.logits(hidden)
    log_probs = torch.log_softmax(logits, dim=-1, dtype=_wide(hidden.dtype))
    own = targets[:, None]
    own_log_probs = log_probs.gather(1, own)
    losses = -own_log_probs[:, 0]
    if not needs_grad:
        return losses, None
    probs = log_probs.exp_().to(head.weight.dtype).scatter_(1, own, 0.0)
    # Apart from the others, for the probability less one wants the wide dtype.
    own_part = own_log_probs.exp() - 1
    if head.cap is not None:
        # How much a logit still follows what the layer gives.
        slope = 1 - (logits / head.cap).square()
        probs = probs * slope
        own_part = own_part * slope.gather(1, own)
    grad = probs @ head.weight + own_part * head.weight.index_select(0, targets)
    return losses, grad if head.scale == 1.0 else grad * head.scale


@cache
def _compiled_chunk_nll() -> ChunkNLL:
    compiled: ChunkNLL = torch.compile(_chunk_nll, dynamic=True)
    return compiled


class _ChunkedNLL(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, head: Head, targets: Tensor, rows: int, of_chunk: ChunkNLL
    ) -> Tensor:
        wide = _wide(hidden.dtype)
        losses = hidden.new_empty(len(hidden), dtype=wide)
        grad = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        bias = None if head.bias is None else head.bias.to(hidden.dtype)
        head = head._replace(weight=head.weight.to(hidden.dtype), bias=bias)
        for start in range(0, len(hidden), rows):
            part = slice(start, start + rows)
            losses[part], grad_part = of_chunk(hidden[part], head, targets[part], grad is not None)
            if grad is not None and grad_part is not None:
                grad[part] = grad_part
        ctx.save_for_backward(grad)
        return losses

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = ctx.saved_tensors
        return (grad * grads[0][:, None]).to(grad.dtype), *[None] * 4
