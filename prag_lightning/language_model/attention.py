"""Causal attention without masks: rows padded at the right, or rows packed behind each other."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedConfig
from transformers.integrations.sdpa_attention import sdpa_attention_forward

SEGMENTED = "segmented_sdpa"


class Window(NamedTuple):
    """What a layer is given in place of a mask, where a token sees only so many tokens back.

    Args:
        size: How many, itself included.
    """

    size: int


def segmented_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Window | None,
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
        attention_mask: What ``window_instead_of_mask`` gave the layer.
        segment_lengths: Tokens of each segment; None where rows are rows.
        sliding_window: How far back a token sees, in tokens; None for all the way.
        kwargs: Passed on to PyTorch's attention.

    Returns:
        Shape ``(rows, tokens, heads, head_dim)``, and no attention weights.
    """
    lengths = segment_lengths or (query.shape[2],)
    kwargs["is_causal"] = True
    # Some layers hand their window on, others rely on the mask for it.
    window = attention_mask.size if attention_mask else sliding_window
    outputs = []
    for q, k, v in zip(*(t.split(lengths, dim=2) for t in (query, key, value)), strict=True):
        mask = _window_mask(q, window)
        outputs.append(sdpa_attention_forward(module, q, k, v, mask, **kwargs)[0])
    return torch.cat(outputs, dim=1) if len(outputs) > 1 else outputs[0], None


def _window_mask(query: Tensor, window: int | None) -> Tensor | None:
    tokens = query.shape[2]
    if window is None or tokens <= window:
        return None
    place = torch.arange(tokens, device=query.device)
    distance = place[:, None] - place[None, :]
    return ((distance >= 0) & (distance < window))[None, None]


def window_instead_of_mask(
    *args: Any, config: PreTrainedConfig, local_size: int | None = None, **kwargs: Any
) -> Window | None:
    """Return how far back a token sees, for ``segmented_attention`` needs no more of a mask.

    Args:
        args: What transformers says of the batch; not needed.
        config: The model's.
        local_size: How wide the mask's windows, or its chunks, are; None where there are none.
        kwargs: See ``args``.

    Raises:
        ValueError: If tokens see their chunk, and not a window that moves with them.
    """
    if local_size is None:
        return None
    if local_size != getattr(config, "sliding_window", None):
        raise ValueError("its tokens attend within chunks of the text")
    return Window(local_size)


AttentionInterface.register(SEGMENTED, segmented_attention)
AttentionMaskInterface.register(SEGMENTED, window_instead_of_mask)
