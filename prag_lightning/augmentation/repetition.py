"""Stopping a model that says the same again and again."""

from typing import Any

import torch
from torch import Tensor
from transformers import StoppingCriteria

# So many tokens that only repeat what stands up to so many before them.
_NUM_REPEATED, _LONGEST_PERIOD = 64, 24
# Looked for once in so many tokens.
_INTERVAL = 16


class EndlessRepetition(StoppingCriteria):
    """Ends the rows of a batch that go round in a circle, and knows where.

    Args:
        num_prompt_tokens: Tokens of the prompts, padding included.
    """

    def __init__(self, num_prompt_tokens: int) -> None:
        self._num_prompt_tokens = num_prompt_tokens
        self.lengths: dict[int, int] = {}

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Tensor:
        """Return which rows are to end, shape ``(rows,)``.

        Args:
            input_ids: Prompts and new tokens, shape ``(rows, tokens)``.
            scores: Not looked at.
            **kwargs: Not looked at.
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
