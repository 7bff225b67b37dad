"""Small probe prompts that show how prompts in a batch affect each other in a base model."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from transformers import PreTrainedModel

from prag_lightning.language_model.logits import last_hidden_states

# Width to which windows are narrowed, and the settings that contain their width.
_WIDTH = 4
_SETTINGS = ("sliding_window", "attention_chunk_size", "keep_window_size", "index_topk")


def probe_prompts(base: PreTrainedModel, lengths: Iterable[int], start: int = 0) -> list[Tensor]:
    """Return prompts of the given lengths, each of shape ``(1, length)``.

    Args:
        base: The model whose vocabulary is used.
        lengths: Lengths in tokens.
        start: Offset into the vocabulary, to get other prompts.
    """
    vocabulary = base.config.get_text_config().vocab_size
    ids = torch.arange(start, start + sum(lengths), device=base.device)
    # Use distant tokens, since many models hardly distinguish neighbors in the vocabulary.
    return list((ids * 7919 % vocabulary)[None].split(list(lengths), dim=1))


def packed_behind(
    base: PreTrainedModel, first: Tensor, second: Tensor, first_position: int = 0
) -> Tensor:
    """Compute the last hidden states of ``second``, packed after ``first`` in one row.

    Args:
        base: A model whose attention is ``segmented_sdpa``.
        first: Shape ``(1, tokens)``.
        second: Shape ``(1, tokens)``.
        first_position: Position of the first token of ``first``.

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
    """Set the embeddings of some tokens to NaN, which spreads to everything that depends on them.

    Args:
        base: The model.
        rows: Rows of the tokens.
        tokens: Positions of the tokens in the rows.
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
    """Narrow all sliding windows and attention chunks to four tokens."""
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
    """Return the largest relative difference that another summation order can cause."""
    coarse = base.dtype.itemsize < 4 or getattr(base, "is_quantized", False)
    return 0.05 if coarse else 1e-3


def same(base: PreTrainedModel, one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors are equal: approximately for mixtures of experts, else exactly.

    The rounding of an expert's products depends on how many tokens of the batch it processes.

    Args:
        base: The model that computed them.
        one: Shape ``(...)``.
        other: Same shape as ``one``.
    """
    return torch.equal(one, other) or difference(one, other) < tolerance(base) / 10


def difference(expected: Tensor, found: Tensor) -> float:
    """Return the norm of the difference of two tensors relative to the expected norm.

    Args:
        expected: Shape ``(...)``.
        found: Same shape as ``expected``.
    """
    return float((found.float() - expected.float()).norm() / expected.float().norm())
