"""Causal attention without masks: rows padded at the right, or rows packed behind each other."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

SEGMENTED = "segmented_sdpa"


def segmented_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    segment_lengths: tuple[int, ...] | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Return causal attention within each segment of the only row, or within each row.

    A token never sees what stands behind it, so right padding needs no mask, and PyTorch's fast
    path for causal attention stays open.

    Args:
        module: The attention layer.
        query: Shape ``(rows, heads, tokens, head_dim)``; ``key`` and ``value`` alike.
        key: See ``query``.
        value: See ``query``.
        attention_mask: Always None, see ``no_mask``.
        segment_lengths: Tokens of each segment; None where rows are rows.
        sliding_window: How far back a token sees, in tokens; None for all the way.
        kwargs: Passed on to PyTorch's attention.

    Returns:
        Shape ``(rows, tokens, heads, head_dim)``, and no attention weights.
    """
    lengths = segment_lengths or (query.shape[2],)
    kwargs["is_causal"] = True
    outputs = []
    for q, k, v in zip(*(t.split(lengths, dim=2) for t in (query, key, value)), strict=True):
        mask = _window_mask(q, sliding_window)
        outputs.append(sdpa_attention_forward(module, q, k, v, mask, **kwargs)[0])
    return torch.cat(outputs, dim=1) if len(outputs) > 1 else outputs[0], None


def _window_mask(query: Tensor, window: int | None) -> Tensor | None:
    tokens = query.shape[2]
    if window is None or tokens <= window:
        return None
    place = torch.arange(tokens, device=query.device)
    distance = place[:, None] - place[None, :]
    return ((distance >= 0) & (distance < window))[None, None]


def no_mask(*args: Any, **kwargs: Any) -> None:
    """Return no mask: ``segmented_attention`` needs none."""
    return


AttentionInterface.register(SEGMENTED, segmented_attention)
AttentionMaskInterface.register(SEGMENTED, no_mask)
