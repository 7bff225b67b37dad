"""What is asked of a language model, and how it draws its answers."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

# How question-answer pairs are asked for.
Pairs = Literal["list", "one_by_one"]
# What augmentations depend on, by name: a file of them is made with one set of these.
Settings = Mapping[str, str | int | float]
# The value of a variable of a chat template.
TemplateSetting = str | int | float | bool
# Enough for a question and its answer; four times as much as that, and a model may think before.
_SHORT_TOKENS = 128


@dataclass(frozen=True)
class Sampling:
    """How a language model draws its tokens; temperature and top-k are the published ones.

    Args:
        temperature: Divides the logits; above 0. Small models do better at 0.3.
        top_k: How many of the likeliest tokens take part; 0 for all.
        top_p: Share of the probability that takes part; 1 for all.
        max_new_tokens: Tokens after which an answer is cut.
    """

    temperature: float = 0.7
    top_k: int = 50
    top_p: float = 1.0
    max_new_tokens: int = 512

    def __post_init__(self) -> None:
        """Check the values."""
        _require_at_least({"top_k": 0, "max_new_tokens": 1}, self)
        if not (0 < self.temperature < math.inf):
            raise ValueError(f"temperature {self.temperature}: give more than 0")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p {self.top_p}: give more than 0 and at most 1")

    def most_tokens(self, is_short: bool) -> int:
        """Return how many tokens an answer may have, or one of a few words."""
        short = max(_SHORT_TOKENS, self.max_new_tokens // 4)
        return min(short, self.max_new_tokens) if is_short else self.max_new_tokens


@dataclass(frozen=True)
class Order:
    """What is wanted of every document.

    Args:
        num_rewrites: Rewrites of it.
        num_qas: Question-answer pairs about it.
        max_attempts: How often the same is asked, each time with another seed.
        seed: Other seeds give other augmentations.
        pairs: ``list`` asks for all pairs at once, as published, and for one at a time where that
            fails twice; ``one_by_one`` asks for one at a time, which small models can do.
        grounded: Whether pairs and rewrites that name what is not in the document are refused.
    """

    num_rewrites: int = 1
    num_qas: int = 3
    max_attempts: int = 5
    seed: int = 42
    pairs: Pairs = "list"
    grounded: bool = True

    def __post_init__(self) -> None:
        """Check the values."""
        _require_at_least({"num_rewrites": 0, "num_qas": 0, "max_attempts": 1}, self)
        if not self.num_rewrites and not self.num_qas:
            raise ValueError("num_rewrites 0 and num_qas 0: give at least 1 of either")

    @property
    def settings(self) -> dict[str, str | int]:
        """What of it shapes the augmentations: more attempts only leave fewer documents failed."""
        return {
            "num_rewrites": self.num_rewrites,
            "num_qas": self.num_qas,
            "seed": self.seed,
            "pairs": self.pairs,
            "grounded": self.grounded,
        }


def _require_at_least(least: dict[str, int], settings: object) -> None:
    for name, smallest in least.items():
        if getattr(settings, name) < smallest:
            raise ValueError(f"{name} {getattr(settings, name)}: give at least {smallest}")
