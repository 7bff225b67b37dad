"""Reads the prompts of a batch up to their last tokens; shared beginnings are read once."""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from prag_lightning.adapters.bank import Route
from prag_lightning.answering.batches import QuestionBatch
from prag_lightning.language_model.logits import CACHE, decoder_of

# Reading shared beginnings must save at least this share of the tokens, padding included.
_WORTHWHILE = 0.1


class Prompts(NamedTuple):
    """Prompts that were read up to their last token.

    Args:
        cache: Keys and values of all tokens but the last, empty for prompts of one token.
        last_ids: The last token of each prompt, shape ``(rows, 1)``.
        last_positions: Their positions in the prompts, shape ``(rows, 1)``.
        attention_mask: 1 for tokens, 0 for padding, shape ``(rows, tokens)``.
    """

    cache: DynamicCache
    last_ids: Tensor
    last_positions: Tensor
    attention_mask: Tensor


class Beginnings(NamedTuple):
    """Shared beginnings of a batch's prompts, among rows with the same documents and adapters.

    Args:
        rows: For each beginning, a row that has it.
        of_row: The beginning of each row.
        input_ids: Tokens of the beginnings, padded at the left, shape ``(beginnings, tokens)``.
        attention_mask: 1 for tokens, 0 for padding, shape of ``input_ids``.
        batch: The batch; each row is its padded beginning, then the left-padded rest.
    """

    rows: list[int]
    of_row: list[int]
    input_ids: Tensor
    attention_mask: Tensor
    batch: QuestionBatch


def can_share(base: PreTrainedModel) -> bool:
    """Return whether padding within a prompt changes nothing: every layer has full attention."""
    layers = DynamicCache(config=base.config).layers
    return all(type(layer) is DynamicLayer for layer in layers)


def find_beginnings(batch: QuestionBatch, route: Route | None) -> Beginnings | None:
    """Return what the prompts of a batch have in common, or None if that is too little.

    Args:
        batch: The questions.
        route: The adapters of each row; None for none.
    """
    prompts = [
        ids[mask.bool()].tolist()
        for ids, mask in zip(batch.input_ids, batch.attention_mask, strict=True)
    ]
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for row, passages in enumerate(batch.passages):
        groups[tuple(p.document_id for p in passages), _adapters(route, row)].append(row)
    common = [_common([prompts[row] for row in rows]) for rows in groups.values()]
    of_row = [0] * len(prompts)
    for number, rows in enumerate(groups.values()):
        for row in rows:
            of_row[row] = number
    rests = [prompt[len(common[of_row[row]]) :] for row, prompt in enumerate(prompts)]
    ids, mask = _padded(common, batch.input_ids)
    rest_ids, rest_mask = _padded(rests, batch.input_ids)
    if ids.numel() + rest_ids.numel() > (1 - _WORTHWHILE) * batch.input_ids.numel():
        return None
    laid_anew = replace(
        batch,
        input_ids=torch.cat([ids[of_row], rest_ids], dim=1),
        attention_mask=torch.cat([mask[of_row], rest_mask], dim=1),
    )
    return Beginnings([rows[0] for rows in groups.values()], of_row, ids, mask, laid_anew)


def _adapters(route: Route | None, row: int) -> Hashable:
    if route is None:
        return None
    weights = () if route.weights is None else tuple(route.weights[row].tolist())
    return tuple(route.slots[row].tolist()), weights


def _common(prompts: Sequence[list[int]]) -> list[int]:
    """Return the tokens that all prompts begin with, but never a whole prompt."""
    columns = zip(*(prompt[:-1] for prompt in prompts), strict=False)
    alike = takewhile(lambda column: len(set(column)) == 1, columns)
    return [column[0] for column in alike]


def _padded(rows: Sequence[list[int]], like: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows padded at the left, and their mask."""
    longest = max(map(len, rows))
    ids = [[0] * (longest - len(row)) + row for row in rows]
    mask = [[0] * (longest - len(row)) + [1] * len(row) for row in rows]
    return like.new_tensor(ids), like.new_tensor(mask)


@torch.no_grad()
def read_beginnings(base: PreTrainedModel, beginnings: Beginnings) -> DynamicCache:
    """Return keys and values of each row's beginning; each beginning is read once.

    Args:
        base: The language model, with the adapters of ``beginnings.rows``.
        beginnings: The beginnings to read.
    """
    cache = DynamicCache(config=base.config)
    _read(base, beginnings.input_ids, beginnings.attention_mask, cache)
    cache.batch_select_indices(torch.tensor(beginnings.of_row, device=beginnings.input_ids.device))
    return cache


@torch.no_grad()
def read_prompts(
    base: PreTrainedModel, batch: QuestionBatch, cache: DynamicCache | None = None
) -> Prompts:
    """Read the prompts of a batch up to their last tokens.

    Args:
        base: The language model, with the adapters that the questions need.
        batch: The questions.
        cache: Keys and values of tokens already read, see ``read_beginnings``; None for none.
    """
    cache = cache or DynamicCache(config=base.config)
    mask = batch.attention_mask
    _read(base, batch.input_ids[:, :-1], mask[:, :-1], cache)
    return Prompts(cache, batch.input_ids[:, -1:], _positions(mask)[:, -1:], mask)


def _read(base: PreTrainedModel, ids: Tensor, mask: Tensor, cache: DynamicCache) -> None:
    """Read the tokens that are not in the cache."""
    start = cache.get_seq_length()
    if ids.shape[1] > start:
        decoder_of(base)(
            input_ids=ids[:, start:],
            attention_mask=mask,
            position_ids=_positions(mask)[:, start:],
            use_cache=True,
            **{CACHE: cache},
        )


def _positions(mask: Tensor) -> Tensor:
    return (mask.cumsum(dim=1) - 1).clamp(min=0)
