"""Sampling in which every row of a batch has a seed of its own, whatever its neighbours."""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from prag_lightning.augmentation.settings import Sampling


class _SeededDraw(LogitsProcessor):
    """Leaves one token for each row: the one that the row's own random number falls on.

    Args:
        seeds: One for each row.
        num_prompt_tokens: Tokens of the prompts, padding included.
        max_new_tokens: Tokens drawn at most.
    """

    def __init__(self, seeds: Sequence[int], num_prompt_tokens: int, max_new_tokens: int) -> None:
        # Drawn on the CPU: other devices have other generators.
        draws = [
            torch.rand(max_new_tokens, generator=torch.Generator().manual_seed(seed))
            for seed in seeds
        ]
        self._draws = torch.stack(draws, dim=1)
        self._num_prompt_tokens = num_prompt_tokens

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return scores of shape ``(rows, vocabulary)`` that are finite for one token a row."""
        cumulative = scores.float().softmax(dim=-1).cumsum(dim=-1)
        draw = self._draws[input_ids.shape[1] - self._num_prompt_tokens].to(scores.device)
        # The probabilities add up to 1 but for rounding.
        place = draw[:, None] * cumulative[:, -1:]
        token = torch.searchsorted(cumulative, place, right=True).clamp_max(scores.shape[1] - 1)
        return torch.full_like(scores, -torch.inf).scatter_(1, token, 0.0)


def seeded_sampling(
    sampling: Sampling, max_new_tokens: int, seeds: Sequence[int], num_prompt_tokens: int
) -> LogitsProcessorList:
    """Return what turns greedy generation into sampling with one seed for each row.

    Args:
        sampling: Temperature, top-k and top-p.
        max_new_tokens: Tokens drawn at most.
        seeds: One for each row of the batch.
        num_prompt_tokens: Tokens of the prompts, padding included.
    """
    steps: list[LogitsProcessor] = [TemperatureLogitsWarper(float(sampling.temperature))]
    if sampling.top_k:
        steps.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1.0:
        steps.append(TopPLogitsWarper(sampling.top_p))
    return LogitsProcessorList([*steps, _SeededDraw(seeds, num_prompt_tokens, max_new_tokens)])
