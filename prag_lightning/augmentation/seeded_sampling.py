"""Sampling with a separate seed per row, so that results do not depend on the batch."""

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
    """Keeps one token per row, selected by the row's own random number.

    Args:
        seeds: One seed per row.
        num_prompt_tokens: Length of the padded prompts in tokens.
        max_new_tokens: Maximum number of tokens to draw.
    """

    def __init__(self, seeds: Sequence[int], num_prompt_tokens: int, max_new_tokens: int) -> None:
        # Drawn on the CPU, because generators differ between devices.
        draws = [
            torch.rand(max_new_tokens, generator=torch.Generator().manual_seed(seed))
            for seed in seeds
        ]
        self._draws = torch.stack(draws, dim=1)
        self._num_prompt_tokens = num_prompt_tokens

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return scores, shape ``(rows, vocabulary)``, of which one per row is finite."""
        cumulative = scores.float().softmax(dim=-1).cumsum(dim=-1)
        draw = self._draws[input_ids.shape[1] - self._num_prompt_tokens].to(scores.device)
        # The probabilities add up to 1 only up to rounding.
        place = draw[:, None] * cumulative[:, -1:]
        token = torch.searchsorted(cumulative, place, right=True).clamp_max(scores.shape[1] - 1)
        return torch.full_like(scores, -torch.inf).scatter_(1, token, 0.0)


def seeded_sampling(
    sampling: Sampling, max_new_tokens: int, seeds: Sequence[int], num_prompt_tokens: int
) -> LogitsProcessorList:
    """Return processors that turn greedy generation into sampling with one seed per row.

    Args:
        sampling: Temperature, top-k and top-p.
        max_new_tokens: Maximum number of tokens to draw.
        seeds: One seed per row of the batch.
        num_prompt_tokens: Length of the padded prompts in tokens.
    """
    steps: list[LogitsProcessor] = [TemperatureLogitsWarper(float(sampling.temperature))]
    if sampling.top_k:
        steps.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1.0:
        steps.append(TopPLogitsWarper(sampling.top_p))
    return LogitsProcessorList([*steps, _SeededDraw(seeds, num_prompt_tokens, max_new_tokens)])
