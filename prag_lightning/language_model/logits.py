"""From token ids to hidden states, and from those to logits."""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast

from prag_lightning.language_model.attention import SEGMENTED
from prag_lightning.upstream import attention_of

# What models call the keys and values of the tokens that they have read.
CACHE = "cache" if "cache" in BaseModelOutputWithPast.__annotations__ else "past_key_values"


class Head(NamedTuple):
    """The output layer of a language model, with what it does to its logits.

    A logit is ``cap * tanh(scale * (hidden @ weight.T + bias) / cap)``, and without a cap
    ``scale * (hidden @ weight.T + bias)``.

    Args:
        weight: Shape ``(vocabulary, hidden_size)``.
        bias: Shape ``(vocabulary,)``, or None.
        scale: Factor of every logit (Cohere, Granite).
        cap: Bound of every logit's absolute value (Gemma 2, arXiv:2408.00118, section 2).
    """

    weight: Tensor
    bias: Tensor | None = None
    scale: float = 1.0
    cap: float | None = None

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the logits of hidden states.

        Args:
            hidden: Shape ``(..., hidden_size)``.

        Returns:
            Shape ``(..., vocabulary)``.
        """
        logits = nn.functional.linear(hidden, self.weight, self.bias)
        if self.scale != 1.0:
            logits = logits * self.scale
        if self.cap is not None:
            logits = torch.tanh(logits / self.cap) * self.cap
        return logits


def head_of(base: PreTrainedModel) -> Head:
    """Return the head of a language model; ``check_base`` says whether this is all it does."""
    layer: Any = base.get_output_embeddings()
    config = base.config.get_text_config()
    return Head(layer.weight, layer.bias, _scale(config), _cap(config))


def logits_of(base: PreTrainedModel, hidden: Tensor) -> Tensor:
    """Return the logits that a model gives for its last hidden states.

    Args:
        base: The language model.
        hidden: Shape ``(..., hidden_size)``.

    Returns:
        Shape ``(..., vocabulary)``.
    """
    return head_of(base).logits(hidden)


def _scale(config: Any) -> float:
    scale = 1.0
    for name in ("logit_scale", "lm_head_multiplier"):
        scale *= getattr(config, name, None) or 1.0
    if divisor := getattr(config, "logits_scaling", None):
        # HyperCLOVA X multiplies by what Granite and MiniCPM divide by.
        scale *= divisor if config.model_type == "hyperclovax" else 1.0 / divisor
    return scale


def _cap(config: Any) -> float | None:
    cap: float | None = getattr(config, "final_logit_softcapping", None)
    return cap


def decoder_of(base: PreTrainedModel) -> nn.Module:
    """Return the part of a language model that ends where its head begins."""
    decoder = base.get_decoder()
    if isinstance(decoder, PreTrainedModel) and decoder is not base:
        return decoder
    # transformers finds the whole model, or a head that is called a decoder.
    return cast(nn.Module, base.model)


def last_hidden_states(
    base: PreTrainedModel,
    input_ids: Tensor,
    position_ids: Tensor | None = None,
    segment_lengths: tuple[int, ...] | None = None,
) -> Tensor:
    """Return what the language model head reads.

    Args:
        base: The language model; its attention is ``segmented_sdpa`` if prompts are packed.
        input_ids: Shape ``(rows, tokens)``, padded at the right or packed in one row.
        position_ids: Like ``input_ids``; rows count from 0 by themselves.
        segment_lengths: Tokens of each prompt of a packed row.

    Returns:
        Shape ``(rows, tokens, hidden_size)``.

    Raises:
        ValueError: If a row is packed, but the model would read it as one text.
    """
    if segment_lengths is not None and attention_of(base) != SEGMENTED:
        raise ValueError(
            f"prompts are packed into one row, which {type(base).__name__} would read as one text; "
            "give each its own row"
        )
    options: dict[str, Any] = {}
    # Models without attention take neither.
    if position_ids is not None:
        options["position_ids"] = position_ids
    if segment_lengths is not None:
        options["segment_lengths"] = segment_lengths
    states: Tensor = decoder_of(base)(
        input_ids=input_ids, use_cache=False, **options
    ).last_hidden_state
    return states
