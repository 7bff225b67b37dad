"""Per-token losses: likelihood and divergence, from few logits at a time, and state distance."""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from prag_lightning.language_model.logits import Head

# Maps a chunk of hidden states, the head, per-token data (targets or the teacher's states), and
# whether gradients are needed, to losses and the gradients of the hidden states.
ChunkLoss = Callable[[Tensor, Head, Tensor, bool], tuple[Tensor, Tensor | None]]

# Maximum size in bytes of the logits of a chunk; larger products are no faster.
CHUNK_BYTES = {"cpu": 2**26, "cuda": 2**29}


def token_nll(
    hidden: Tensor,
    head: Head,
    targets: Tensor,
    chunk_bytes: int | None = None,
    compile: bool = False,
) -> Tensor:
    """Compute each token's negative log-likelihood without materializing all logits.

    Since the head is frozen, the gradient of ``hidden`` is computed chunk by chunk while the logits
    exist. Memory use is that of a few chunks, independent of the vocabulary size.

    Args:
        hidden: Last hidden states, shape ``(tokens, hidden_size)``.
        head: The language model's output layer, see ``head_of``.
        targets: The next token at each position, shape ``(tokens,)``.
        chunk_bytes: Maximum size of a chunk's logits, as float32; by default a size that is fast
            on the device.
        compile: Whether to compile the computation of a chunk.

    Returns:
        Losses, shape ``(tokens,)``, in float32, or float64 for float64 ``hidden``.
    """
    of_chunk = _compiled(_chunk_nll) if compile else _chunk_nll
    return _by_chunks(hidden, head, targets, of_chunk, chunk_bytes)


def token_divergence(
    hidden: Tensor,
    teacher: Tensor,
    head: Head,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    chunk_bytes: int | None = None,
    compile: bool = False,
) -> Tensor:
    """Compute each token's Kullback-Leibler divergence of a student from its teacher.

    Both share the head, and the teacher gets no gradient. As in `token_nll`, the logits are never
    materialized all at once.

    Args:
        hidden: The student's last hidden states, shape ``(tokens, hidden_size)``.
        teacher: The teacher's last hidden states, of the same shape.
        head: The language model's output layer, see ``head_of``.
        temperature: Divides all logits; the divergence is multiplied by its square.
        top_k: Number of the teacher's most likely tokens to which both distributions are
            restricted; None for all.
        chunk_bytes: Maximum size of a chunk's logits, as float32.
        compile: Whether to compile the computation of a chunk.

    Returns:
        ``temperature ** 2 * sum_v p(v) * (log p(v) - log q(v))`` for the teacher's ``p`` and the
        student's ``q``, shape ``(tokens,)``, float32, or float64 for float64 ``hidden``.
    """
    whole = _compiled(_chunk_divergence) if compile else _chunk_divergence
    of_chunk = partial(whole, temperature=temperature, top_k=top_k)
    return _by_chunks(hidden, head, teacher, of_chunk, chunk_bytes)


def state_distance(states: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """Compute each token's mean relative L1 distance of hidden states from a teacher's.

    Args:
        states: Hidden states of each layer, shape ``(tokens, hidden_size)``; at least one layer.
        wanted: The teacher's, which get no gradient.

    Returns:
        The mean over layers of ``|state - wanted|_1 / |wanted|_1``, shape ``(tokens,)``, float32,
        or float64 for float64 states.
    """
    wide = _wide(states[0].dtype)
    total = states[0].new_zeros(len(states[0]), dtype=wide)
    for state, teacher in zip(states, wanted, strict=True):
        teacher = teacher.to(wide)
        gap = torch.linalg.vector_norm(state.to(wide) - teacher, ord=1, dim=1)
        total = total + gap / torch.linalg.vector_norm(teacher, ord=1, dim=1)
    return total / len(states)


def _by_chunks(
    hidden: Tensor, head: Head, known: Tensor, of_chunk: ChunkLoss, chunk_bytes: int | None
) -> Tensor:
    chunk_bytes = chunk_bytes or CHUNK_BYTES.get(hidden.device.type, CHUNK_BYTES["cpu"])
    rows = max(1, chunk_bytes // (len(head.weight) * _wide(hidden.dtype).itemsize))
    losses: Tensor = _ChunkedLoss.apply(hidden, head, known, rows, of_chunk)
    return losses


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _chunk_nll(
    hidden: Tensor, head: Head, targets: Tensor, needs_grad: bool
) -> tuple[Tensor, Tensor | None]:
    """Return a chunk's losses and the gradients of its hidden states, in float32 or float64."""
    logits = head.logits(hidden)
    log_probs = torch.log_softmax(logits, dim=-1, dtype=_wide(hidden.dtype))
    own = targets[:, None]
    own_log_probs = log_probs.gather(1, own)
    losses = -own_log_probs[:, 0]
    if not needs_grad:
        return losses, None
    probs = log_probs.exp_().to(head.weight.dtype).scatter_(1, own, 0.0)
    # The target is handled separately, since the probability minus 1 needs the wide dtype.
    own_part = own_log_probs.exp() - 1
    if head.cap is not None:
        # Derivative of the soft-capping.
        slope = 1 - (logits / head.cap).square()
        probs = probs * slope
        own_part = own_part * slope.gather(1, own)
    grad = probs @ head.weight + own_part * head.weight.index_select(0, targets)
    return losses, grad if head.scale == 1.0 else grad * head.scale


def _chunk_divergence(
    hidden: Tensor,
    head: Head,
    teacher: Tensor,
    needs_grad: bool,
    temperature: float,
    top_k: int | None,
) -> tuple[Tensor, Tensor | None]:
    """Return a chunk's divergences and the gradients of its hidden states."""
    wide = _wide(hidden.dtype)
    wanted = head.logits(teacher).to(wide) / temperature
    if top_k is not None and top_k < wanted.shape[1]:
        least = wanted.topk(top_k, dim=1).values[:, -1:]
        wanted = wanted.masked_fill(wanted < least, -torch.inf)
    log_p = torch.log_softmax(wanted, dim=1)
    logits = head.logits(hidden)
    log_q = torch.log_softmax(logits.to(wide) / temperature, dim=1)
    p = log_p.exp()
    # Tokens with teacher probability 0 contribute nothing: 0 * log 0 is 0.
    losses = temperature**2 * (p * (log_p - log_q).masked_fill(p == 0, 0.0)).sum(dim=1)
    if not needs_grad:
        return losses, None
    slopes = temperature * (log_q.exp_() - p)
    if head.cap is not None:
        # Derivative of the soft-capping.
        slopes = slopes * (1 - (logits / head.cap).square())
    grad = slopes.to(head.weight.dtype) @ head.weight
    return losses, grad if head.scale == 1.0 else grad * head.scale


@cache
def _compiled(of_chunk: Callable[..., Any]) -> Callable[..., Any]:
    compiled: Callable[..., Any] = torch.compile(of_chunk, dynamic=True)
    return compiled


class _ChunkedLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, head: Head, known: Tensor, rows: int, of_chunk: ChunkLoss
    ) -> Tensor:
        wide = _wide(hidden.dtype)
        losses = hidden.new_empty(len(hidden), dtype=wide)
        grad = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        bias = None if head.bias is None else head.bias.to(hidden.dtype)
        head = head._replace(weight=head.weight.to(hidden.dtype), bias=bias)
        for start in range(0, len(hidden), rows):
            part = slice(start, start + rows)
            losses[part], grad_part = of_chunk(hidden[part], head, known[part], grad is not None)
            if grad is not None and grad_part is not None:
                grad[part] = grad_part
        ctx.save_for_backward(grad)
        return losses

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = ctx.saved_tensors
        return (grad * grads[0][:, None]).to(grad.dtype), *[None] * 4
