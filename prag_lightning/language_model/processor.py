"""Advice on whether the processor would be faster in another precision."""

from functools import cache
from time import perf_counter

import torch
from transformers import PreTrainedModel

# In smaller models, matrix products take little of the time.
_FEWEST_PARAMETERS = 50_000_000
# Minimum speedup of matrix products, which are only part of the work.
_WORTHWHILE = 1.5


def precision_advice(base: PreTrainedModel, precision: str) -> str | None:
    """Return a suggestion to use bfloat16 if that would be faster, or None.

    Args:
        base: The base model.
        precision: Precision of the Trainer.
    """
    is_float32 = base.device.type == "cpu" and base.dtype == torch.float32
    if precision != "32-true" or not is_float32 or base.num_parameters() < _FEWEST_PARAMETERS:
        return None
    gain = bfloat16_gain()
    if gain < _WORTHWHILE:
        return None
    return (
        f"this processor multiplies bfloat16 {gain:.1f} times as fast as float32; "
        "--trainer.precision bf16-true encodes faster"
    )


@cache
def bfloat16_gain() -> float:
    """Return the speedup of matrix products in bfloat16 over float32 on this processor."""
    return _seconds_of_product(torch.float32) / _seconds_of_product(torch.bfloat16)


def _seconds_of_product(dtype: torch.dtype) -> float:
    left, right = torch.ones(256, 576, dtype=dtype), torch.ones(576, 1536, dtype=dtype)
    seconds = []
    # The first run includes one-time setup, so the fastest run is used.
    for _ in range(6):
        start = perf_counter()
        torch.mm(left, right)
        seconds.append(perf_counter() - start)
    return min(seconds)
