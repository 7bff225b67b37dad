"""Causal attention without masks, for right-padded rows or prompts packed into a single row."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedConfig
from transformers.integrations.sdpa_attention import sdpa_attention_forward

SEGMENTED = "segmented_sdpa"


class Window(NamedTuple):
    """Replaces the attention mask of a layer with sliding-window attention.

    Args:
        size: Number of tokens that each token attends to, including itself.
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
    """Compute causal attention within each segment of a packed row, or within each row.

    With causal attention, tokens never attend to right padding. No mask is needed, so PyTorch can
    use its fast causal kernels.

    Args:
        module: The attention layer.
        query: Shape ``(rows, heads, tokens, head_dim)``, as are ``key`` and ``value``.
        key: See ``query``.
        value: See ``query``.
        attention_mask: The result of ``window_instead_of_mask``.
        segment_lengths: Token counts of the segments; None if rows are not packed.
        sliding_window: Number of tokens that each token attends to; None for all previous ones.
        kwargs: Passed to PyTorch's attention.

    Returns:
        The output, shape ``(rows, tokens, heads, head_dim)``, and None for the attention weights.
        Shape ``(rows, tokens, heads, head_dim)``, and no attention weights.
    """
    dtype = query.dtype
    if _is_faster_in_float32(query):
        query, key, value = query.float(), key.float(), value.float()
    lengths = segment_lengths or (query.shape[2],)
    kwargs["is_causal"] = True
    # Some layers pass their window as an argument, others rely on the mask.
    window = attention_mask.size if attention_mask else sliding_window
    outputs = []
    for q, k, v in zip(*(t.split(lengths, dim=2) for t in (query, key, value)), strict=True):
        mask = _window_mask(q, window)
        outputs.append(sdpa_attention_forward(module, q, k, v, mask, **kwargs)[0])
    output = torch.cat(outputs, dim=1) if len(outputs) > 1 else outputs[0]
    return output.to(dtype), None


def _is_faster_in_float32(query: Tensor) -> bool:
    """Return whether float32 is faster in spite of the conversion; see docs/benchmarks.md."""
    # Autocast would convert back.
    is_short = query.device.type == "cpu" and query.dtype.itemsize < 4
    return is_short and not torch.is_autocast_enabled("cpu")


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
    """Return the sliding window, which is all that ``segmented_attention`` needs of a mask.

    Args:
        args: Description of the batch by transformers; ignored.
        config: Configuration of the model.
        local_size: Width of the mask's windows or chunks; None if there are none.
        kwargs: See ``args``.

    Raises:
        ValueError: If the model uses chunked attention instead of sliding windows.
    """
    if local_size is None:
        return None
    if local_size != getattr(config, "sliding_window", None):
        raise ValueError("its tokens attend within chunks of the text")
    return Window(local_size)


AttentionInterface.register(SEGMENTED, segmented_attention)
AttentionMaskInterface.register(SEGMENTED, window_instead_of_mask)
