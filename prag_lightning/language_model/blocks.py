"""The decoder blocks of a language model, and recording what they put out for some tokens."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from prag_lightning.language_model.logits import decoder_of


def decoder_blocks(base: PreTrainedModel) -> nn.ModuleList:
    """Return the decoder blocks of a language model, in order.

    Raises:
        ValueError: If it is not known which modules they are.
    """
    number = getattr(base.config.get_text_config(), "num_hidden_layers", None)
    for module in decoder_of(base).modules():
        if isinstance(module, nn.ModuleList) and len(module) == number:
            return module
    raise ValueError(
        f"{type(base).__name__} has no list of {number} decoder blocks, whose hidden states could "
        "be compared; leave hidden_weight out"
    )


@contextmanager
def recorded_blocks(
    base: PreTrainedModel, numbers: Sequence[int] | None, positions: Tensor
) -> Iterator[list[Tensor]]:
    """Record what some decoder blocks put out within the block, at some tokens only.

    Args:
        base: The language model.
        numbers: The decoder blocks, from 0 on, or from -1 backwards; None for all.
        positions: Indices of the tokens in the flattened input, shape ``(tokens,)``.

    Yields:
        A list that afterwards holds a tensor of shape ``(tokens, hidden_size)`` for each block.

    Raises:
        ValueError: If there is no such block.
    """
    states: list[Tensor] = []
    if numbers is not None and not numbers:
        yield states
        return
    blocks = decoder_blocks(base)
    chosen = range(len(blocks)) if numbers is None else numbers
    if missing := [n for n in chosen if not -len(blocks) <= n < len(blocks)]:
        raise ValueError(f"there is no decoder block {missing[0]}; the base has {len(blocks)}")
    states += [torch.empty(0)] * len(chosen)
    record = partial(_record, states, positions)
    handles = [
        blocks[number].register_forward_hook(partial(record, place))
        for place, number in enumerate(chosen)
    ]
    try:
        yield states
    finally:
        for handle in handles:
            handle.remove()


def _record(
    states: list[Tensor], positions: Tensor, place: int, block: nn.Module, _: Any, output: Any
) -> None:
    hidden: Tensor = output[0] if isinstance(output, tuple) else output
    states[place] = hidden.flatten(0, 1).index_select(0, positions)
