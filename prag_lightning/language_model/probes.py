"""Small prompts that show what a base model does with their neighbours."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from transformers import PreTrainedModel

from prag_lightning.language_model.logits import last_hidden_states

# How wide windows are made, and the settings that say how wide they are.
_WIDTH = 4
_SETTINGS = ("sliding_window", "attention_chunk_size", "keep_window_size", "index_topk")


def probe_prompts(base: PreTrainedModel, lengths: Iterable[int], start: int = 0) -> list[Tensor]:
    """Return prompts of these lengths, each of shape ``(1, length)``.

    Args:
        base: Whose tokens they are of.
        lengths: In tokens.
        start: Other prompts begin elsewhere in the vocabulary.
    """
    vocabulary = base.config.get_text_config().vocab_size
    ids = torch.arange(start, start + sum(lengths), device=base.device)
    # Far from each other, for many models do not tell neighbours in the vocabulary apart.
    return list((ids * 7919 % vocabulary)[None].split(list(lengths), dim=1))


def packed_behind(
    base: PreTrainedModel, first: Tensor, second: Tensor, first_position: int = 0
) -> Tensor:
    """Return the last hidden states of ``second``, read in one row behind ``first``.

    Args:
        base: A model whose attention is ``segmented_sdpa``.
        first: Shape ``(1, tokens)``.
        second: Shape ``(1, tokens)``.
        first_position: Where ``first`` begins.

    Returns:
        Shape ``(1, tokens of second, hidden_size)``.
    """
    lengths = first.shape[1], second.shape[1]
    places = (torch.arange(length, device=base.device) for length in lengths)
    positions = torch.cat([next(places) + first_position, next(places)])
    ids = torch.cat([first, second], dim=1)
    return last_hidden_states(base, ids, positions[None], lengths)[:, lengths[0] :]


@contextmanager
def not_a_number(base: PreTrainedModel, rows: slice, tokens: slice) -> Iterator[None]:
    """Make the embeddings of some tokens NaN: whatever they reach, by however little, is NaN.

    Args:
        base: The model.
        rows: Of the tokens.
        tokens: Their places in the rows.
    """

    def poison(module: object, args: object, output: Tensor) -> Tensor:
        output = output.clone()
        output[rows, tokens] = torch.nan
        return output

    hook = base.get_input_embeddings().register_forward_hook(poison)
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def narrow_windows(base: PreTrainedModel) -> Iterator[None]:
    """Let tokens see four tokens where they see a limited number."""
    owners = [base.config, base.config.get_text_config(), *base.modules()]
    before = [
        (owner, name, value)
        for owner in owners
        for name in _SETTINGS
        if isinstance(value := vars(owner).get(name), int) and value > _WIDTH
    ]
    try:
        for owner, name, _ in before:
            setattr(owner, name, _WIDTH)
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)


def tolerance(base: PreTrainedModel) -> float:
    """Return how far the same states may be apart where PyTorch took sums in another order."""
    coarse = base.dtype.itemsize < 4 or getattr(base, "is_quantized", False)
    return 0.05 if coarse else 1e-3


def same(base: PreTrainedModel, one: Tensor, other: Tensor) -> bool:
    """Say whether two tensors are equal to the bit, or, where experts take turns, nearly so.

    An expert's products are rounded by how many tokens it is given, neighbours' among them.

    Args:
        base: What computed them.
        one: Of any shape.
        other: Of the same shape.
    """
    return torch.equal(one, other) or difference(one, other) < tolerance(base) / 10


def difference(expected: Tensor, found: Tensor) -> float:
    """Return by which share of its norm a tensor is off.

    Args:
        expected: Of any shape.
        found: Of the same shape.
    """
    return float((found.float() - expected.float()).norm() / expected.float().norm())
