"""Stopping generation when a model repeats itself endlessly."""

from typing import Any

import torch
from torch import Tensor
from transformers import StoppingCriteria

# Number of repeated tokens that stops a row, and maximum period of the repetition.
_NUM_REPEATED, _LONGEST_PERIOD = 64, 24
# Number of tokens between two checks.
_INTERVAL = 16


class EndlessRepetition(StoppingCriteria):
    """Stops the rows of a batch that repeat themselves, and records where.

    Args:
        num_prompt_tokens: Length of the padded prompts in tokens.
    """

    def __init__(self, num_prompt_tokens: int) -> None:
        self._num_prompt_tokens = num_prompt_tokens
        self.lengths: dict[int, int] = {}

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Tensor:
        """Return which rows to stop, shape ``(rows,)``.

        Args:
            input_ids: Prompts and new tokens, shape ``(rows, tokens)``.
            scores: Ignored.
            **kwargs: Ignored.
        """
        ends = torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
        num_new = input_ids.shape[1] - self._num_prompt_tokens
        if num_new < _NUM_REPEATED + _LONGEST_PERIOD or num_new % _INTERVAL:
            return ends
        last = input_ids[:, -_NUM_REPEATED:]
        for period in range(1, _LONGEST_PERIOD + 1):
            before = input_ids[:, -_NUM_REPEATED - period : -period]
            ends |= (last == before).all(dim=1)
        for row in ends.nonzero().flatten().tolist():
            self.lengths.setdefault(row, num_new)
        return ends
