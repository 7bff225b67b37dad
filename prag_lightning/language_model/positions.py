"""The maximum prompt length of a base model."""

from collections.abc import Iterator
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from prag_lightning.language_model.logits import decoder_of

# With these kinds of RoPE, all positions depend on the longest prompt in the batch.
_DYNAMIC = {
    "dynamic": "max_position_embeddings",
    "longrope": "original_max_position_embeddings",
}


def max_positions(base: PreTrainedModel) -> int | None:
    """Return the size of a base's position embedding table; None if it has no table."""
    config = base.config.get_text_config()
    positions: int | None = getattr(config, "max_position_embeddings", None)
    return positions if positions is not None and _has_table(base, positions) else None


def prompt_limit(base: PreTrainedModel) -> tuple[int | None, str]:
    """Return the maximum length in tokens of a prompt with its answer, and the reason for it.

    The length is None if there is no limit. It is limited by the position embedding table, or by
    kinds of RoPE with which longer prompts would affect others in the batch.
    """
    limits = []
    if (positions := max_positions(base)) is not None:
        limits.append((positions, "its table of positions ends there"))
    for kind, length in _dynamic_ropes(base):
        reason = f"beyond, its rotary embeddings ({kind}) follow the longest prompt of a batch"
        limits.append((length, reason))
    return min(limits, default=(None, ""))


def _has_table(base: PreTrainedModel, positions: int) -> bool:
    decoder = decoder_of(base)
    for name, module in decoder.named_modules():
        # Some tables begin with rows for padding.
        if (
            isinstance(module, nn.Embedding)
            and module is not base.get_input_embeddings()
            and _speaks_of_positions(name)
            and 0 <= module.num_embeddings - positions <= 2
        ):
            return True
    return any(
        (_speaks_of_positions(name) and len(buffer) == positions)
        or buffer.shape[-2:] == (positions,) * 2
        for name, buffer in decoder.named_buffers()
        if buffer.dim() >= 2
    )


def _speaks_of_positions(name: str) -> bool:
    last = name.rpartition(".")[2]
    return "pos" in last or last == "wpe"


def _dynamic_ropes(base: PreTrainedModel) -> Iterator[tuple[str, int]]:
    """Yield the kinds of RoPE that depend on the longest prompt, and from which length on."""
    config = base.config.get_text_config()
    settings: Any = getattr(config, "rope_parameters", None) or {}
    # RoPE settings may differ by layer type.
    for rope in (settings, *(part for part in settings.values() if isinstance(part, dict))):
        kind = rope.get("rope_type")
        if kind in _DYNAMIC:
            length = rope.get(_DYNAMIC[kind]) or config.max_position_embeddings
            yield kind, length
