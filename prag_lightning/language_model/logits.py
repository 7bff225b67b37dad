"""Computing last hidden states from token ids, and logits from hidden states."""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast

from prag_lightning.language_model.attention import SEGMENTED
from prag_lightning.upstream import attention_of

# Name of the key-value cache in model outputs, which depends on the version of transformers.
CACHE = "cache" if "cache" in BaseModelOutputWithPast.__annotations__ else "past_key_values"


class Head(NamedTuple):
    """The output layer of a language model, including scaling and soft-capping of its logits.

    A logit is ``cap * tanh(scale * (hidden @ weight.T + bias) / cap)``, and without a cap
    ``scale * (hidden @ weight.T + bias)``.

    Args:
        weight: Shape ``(vocabulary, hidden_size)``.
        bias: Shape ``(vocabulary,)``, or None.
        scale: Factor applied to all logits (Cohere, Granite).
        cap: Bound on the logits' absolute values (Gemma 2, arXiv:2408.00118, section 2).
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
    """Return the head of a language model; ``check_base`` verifies that it is complete."""
    layer: Any = base.get_output_embeddings()
    config = base.config.get_text_config()
    return Head(layer.weight, layer.bias, _scale(config), _cap(config))


def logits_of(base: PreTrainedModel, hidden: Tensor) -> Tensor:
    """Compute a model's logits from its last hidden states.

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
        # HyperCLOVA X multiplies by the setting by which Granite and MiniCPM divide.
        scale *= divisor if config.model_type == "hyperclovax" else 1.0 / divisor
    return scale


def _cap(config: Any) -> float | None:
    cap: float | None = getattr(config, "final_logit_softcapping", None)
    return cap


def decoder_of(base: PreTrainedModel) -> nn.Module:
    """Return a language model without its head."""
    decoder = base.get_decoder()
    if isinstance(decoder, PreTrainedModel) and decoder is not base:
        return decoder
    # transformers' own lookup may return the whole model, or a head named decoder.
    return cast(nn.Module, base.model)


def last_hidden_states(
    base: PreTrainedModel,
    input_ids: Tensor,
    position_ids: Tensor | None = None,
    segment_lengths: tuple[int, ...] | None = None,
) -> Tensor:
    """Compute the hidden states that the language model head takes as input.

    Args:
        base: The language model; if prompts are packed, its attention is ``segmented_sdpa``.
        input_ids: Shape ``(rows, tokens)``, right-padded or packed into one row.
        position_ids: Same shape as ``input_ids``; by default each row counts from 0.
        segment_lengths: Token counts of the prompts in a packed row.

    Returns:
        Shape ``(rows, tokens, hidden_size)``.

    Raises:
        ValueError: If a row is packed, but the model would treat it as one text.
    """
    if segment_lengths is not None and attention_of(base) != SEGMENTED:
        raise ValueError(
            f"prompts are packed into one row, which {type(base).__name__} would read as one text; "
            "give each its own row"
        )
    options: dict[str, Any] = {}
    # Models without attention accept neither option.
    if position_ids is not None:
        options["position_ids"] = position_ids
    if segment_lengths is not None:
        options["segment_lengths"] = segment_lengths
    if attention_of(base) == SEGMENTED:
        # Ignored by this attention. Without a mask, transformers looks for packed prompts in the
        # positions, and waits for the device to tell.
        options["attention_mask"] = torch.ones_like(input_ids, dtype=torch.bool)
    states: Tensor = decoder_of(base)(
        input_ids=input_ids, use_cache=False, **options
    ).last_hidden_state
    return states
