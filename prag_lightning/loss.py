"""Negative log-likelihoods of tokens, a few logits at a time."""

from typing import Any

import torch
from torch import Tensor, nn

# Logits that exist at once, in bytes: beyond some 64 MiB larger products are no faster.
CHUNK_BYTES = 64 * 2**20


def token_nll(
    hidden: Tensor, head: nn.Linear, targets: Tensor, chunk_bytes: int = CHUNK_BYTES
) -> Tensor:
    """Return each token's negative log-likelihood, never holding all logits at once.

    The head is frozen, so the gradient of ``hidden`` can be made chunk by chunk while the logits
    exist; memory is that of a few chunks, whatever the vocabulary.

    Args:
        hidden: Last hidden states, shape ``(tokens, hidden_size)``.
        head: The language model's output layer, ``(vocabulary, hidden_size)``.
        targets: The token that follows each of them, shape ``(tokens,)``.
        chunk_bytes: How large the logits of a chunk may be, in float32 bytes.

    Returns:
        Shape ``(tokens,)``, float32, or float64 for float64 ``hidden``.
    """
    losses: Tensor = _ChunkedNLL.apply(hidden, head.weight, head.bias, targets, chunk_bytes)
    return losses


class _ChunkedNLL(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        chunk_bytes: int,
    ) -> Tensor:
        wide = torch.float64 if hidden.dtype == torch.float64 else torch.float32
        rows = max(1, chunk_bytes // (len(weight) * wide.itemsize))
        needs_grad = ctx.needs_input_grad[0]
        losses = hidden.new_empty(len(hidden), dtype=wide)
        grad = torch.empty_like(hidden) if needs_grad else None
        weight = weight.to(hidden.dtype)
        bias = None if bias is None else bias.to(hidden.dtype)
        for start in range(0, len(hidden), rows):
            part = slice(start, start + rows)
            logits = torch.nn.functional.linear(hidden[part], weight, bias).to(wide)
            log_probs = torch.log_softmax(logits, dim=-1)
            own = targets[part, None]
            losses[part] = -log_probs.gather(1, own)[:, 0]
            if grad is not None:
                probs = log_probs.exp_()
                probs.scatter_add_(1, own, probs.new_full(own.shape, -1.0))
                grad[part] = probs.to(weight.dtype) @ weight
        ctx.save_for_backward(grad)
        return losses

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = ctx.saved_tensors
        return (grad * grads[0][:, None]).to(grad.dtype), None, None, None, None
