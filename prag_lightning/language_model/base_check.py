"""Checking how a base model can be trained: with packed prompts, padded rows, or not at all."""

from contextlib import suppress
from dataclasses import dataclass

import torch
from transformers import DynamicCache, PreTrainedModel

from prag_lightning.language_model.attention import SEGMENTED
from prag_lightning.language_model.logits import (
    CACHE,
    decoder_of,
    last_hidden_states,
    logits_of,
)
from prag_lightning.language_model.positions import prompt_limit
from prag_lightning.language_model.probes import (
    difference,
    narrow_windows,
    not_a_number,
    packed_behind,
    probe_prompts,
    same,
    tolerance,
)
from prag_lightning.upstream import attention_of

# Lengths of the probe prompts; the second one exceeds the narrowed windows.
_LENGTHS = (7, 6)


@dataclass(frozen=True)
class BaseAbilities:
    """How a base model can be used.

    Args:
        packs: Whether prompts can be packed into one row; otherwise each needs its own row.
        attention: The attention implementation for training.
        max_tokens: Maximum number of tokens of a prompt and its answer; None for no limit.
        continues: Whether processing several tokens after a cache gives the same result as
            processing everything at once.
        remarks: Messages for the user, one sentence each.
    """

    packs: bool
    attention: str
    max_tokens: int | None
    continues: bool = True
    remarks: tuple[str, ...] = ()


class _UnfitError(ValueError):
    """A base model that cannot be used."""

    def __init__(self, base: PreTrainedModel, reason: str) -> None:
        super().__init__(f"{type(base).__name__} cannot be used: {reason}")


@torch.no_grad()
def check_base(base: PreTrainedModel) -> BaseAbilities:
    """Determine by experiment how a base model can be used, such that prompts never interact.

    This processes a few dozen tokens, with every sliding window narrowed to less than a prompt.

    Args:
        base: The language model, in the precision in which it will be used.

    Raises:
        ValueError: If its losses cannot be computed, or if prompts affect each other even in
            separate rows.
    """
    name = type(base).__name__
    own_attention = attention_of(base)
    try:
        with narrow_windows(base):
            _check_head(base)
            max_tokens, why_limited = prompt_limit(base)
            why_rows = _why_not_packed(base)
            if why_rows is None:
                _check_late_positions(base, max_tokens)
            base.set_attn_implementation(own_attention)
            if why_rows is not None:
                _check_rows(base)
            continues = _continues(base)
    except (torch.OutOfMemoryError, _UnfitError):
        raise
    # This runs code of several hundred architectures, including third-party code.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{name} cannot be used: it reads no tokens ({reason})") from error
    finally:
        base.set_attn_implementation(own_attention)
    remarks = []
    if why_rows is not None:
        remarks.append(f"{name} reads every prompt in a row of its own, for {why_rows}.")
    if max_tokens is not None:
        remarks.append(f"{name} reads at most {max_tokens:,} tokens: {why_limited}.")
    attention = SEGMENTED if why_rows is None else own_attention
    return BaseAbilities(why_rows is None, attention, max_tokens, continues, tuple(remarks))


def _check_head(base: PreTrainedModel) -> None:
    if base.get_output_embeddings() is None:
        raise _UnfitError(base, "it has no language model head")
    (ids,) = probe_prompts(base, _LENGTHS[:1])
    # With the same operations, even a small part that we omit shows up as a difference.
    error = difference(base(input_ids=ids).logits, logits_of(base, last_hidden_states(base, ids)))
    if not error < 1e-3:
        reason = "its head does more than a linear layer, a factor and a cap (the logits differ by "
        raise _UnfitError(base, f"{reason}{error:.2%})")


def _why_not_packed(base: PreTrainedModel) -> str | None:
    """Return why prompts cannot be packed into one row; None if they can."""
    first, second = probe_prompts(base, _LENGTHS)
    (other,) = probe_prompts(base, _LENGTHS[:1], start=sum(_LENGTHS))
    alone = last_hidden_states(base, second)
    with suppress(ValueError):
        base.set_attn_implementation(SEGMENTED)
    if attention_of(base) != SEGMENTED:
        return "its attention cannot be replaced by PyTorch's"
    try:
        beside_first = packed_behind(base, first, second)
        beside_other = packed_behind(base, other, second)
        with not_a_number(base, slice(0, 1), slice(0, _LENGTHS[0])):
            beside_nan = packed_behind(base, first, second)
    except torch.OutOfMemoryError:
        raise
    except Exception:
        return "its layers do not say where a prompt ends"
    if not same(base, beside_first, beside_other) or not beside_nan.isfinite().all():
        return "its layers carry something over from one prompt to the next"
    if not difference(alone, beside_first) < tolerance(base):
        return "its layers attend in another way than PyTorch's attention"
    return None


def _check_late_positions(base: PreTrainedModel, max_tokens: int | None) -> None:
    """Check that a prompt is not affected by one that ends at the largest possible position."""
    first, second = probe_prompts(base, _LENGTHS)
    made_for = getattr(base.config.get_text_config(), "max_position_embeddings", None)
    last = min(length for length in (max_tokens, made_for, 2**20) if length is not None)
    early = packed_behind(base, first, second)
    late = packed_behind(base, first, second, max(0, last - _LENGTHS[0]))
    if not same(base, early, late):
        raise _UnfitError(base, "how it reads a prompt depends on how long the others are")


def _check_rows(base: PreTrainedModel) -> None:
    """Check that rows are independent, and that earlier tokens do not depend on later ones."""
    length = sum(_LENGTHS)
    rows = [probe_prompts(base, [length], start=start)[0] for start in (0, length, 2 * length)]
    changed = rows[0].clone()
    changed[:, _LENGTHS[0] :] = rows[2][:, _LENGTHS[0] :]
    part = slice(0, 1), slice(0, _LENGTHS[0])
    before = last_hidden_states(base, torch.cat([rows[0], rows[1]]))[part]
    after = last_hidden_states(base, torch.cat([changed, rows[2]]))[part]
    with not_a_number(base, slice(1, 2), slice(None)):
        beside_nan = last_hidden_states(base, torch.cat([rows[0], rows[1]]))[part]
    if not same(base, before, after) or not beside_nan.isfinite().all():
        raise _UnfitError(base, "what it reads of a token depends on later tokens or on other rows")


def _continues(base: PreTrainedModel) -> bool:
    """Return whether processing a left-padded row in two parts gives the result for the whole."""
    (row,) = probe_prompts(base, [sum(_LENGTHS)])
    padding = row.new_zeros(1, 2)
    ids = torch.cat([padding, row], dim=1)
    mask = (torch.arange(ids.shape[1], device=ids.device) >= padding.shape[1]).long()[None]
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    cache = DynamicCache(config=base.config)
    first = padding.shape[1] + _LENGTHS[0]
    try:
        for part in (slice(0, first), slice(first, None)):
            end = part.stop or ids.shape[1]
            states = decoder_of(base)(
                input_ids=ids[:, part],
                attention_mask=mask[:, :end],
                position_ids=positions[:, part],
                use_cache=True,
                **{CACHE: cache},
            ).last_hidden_state
    except torch.OutOfMemoryError:
        raise
    # Models without attention cache other things than keys and values.
    except Exception:
        return False
    whole = last_hidden_states(base, row)[:, _LENGTHS[0] :]
    return difference(whole, states) < tolerance(base)
