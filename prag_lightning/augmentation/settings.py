"""What is asked of a language model, and how it draws its answers."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

# How question-answer pairs are asked for.
Pairs = Literal["list", "one_by_one"]
# Whether a question's answer comes with it, or from a request of its own.
Answers = Literal["with_questions", "by_themselves"]
# What augmentations depend on, by name: a file of them is made with one set of these.
Settings = Mapping[str, str | int | float]
# The kinds of texts that are made of a document, and the setting that says how many.
NUMBERS_OF_TEXTS = {"rewrite": "num_rewrites", "summary": "num_summaries", "facts": "num_facts"}
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
        grounded: Whether pairs and texts that name what is not in the document are refused.
        num_summaries: Summaries of it, each kept as a further rewrite.
        num_facts: Lists of the facts that it states, each kept as a further rewrite.
        answers: ``with_questions`` takes the answers that come with the questions, as published;
            ``by_themselves`` asks for each once more, with the document in the prompt.
    """

    num_rewrites: int = 1
    num_qas: int = 3
    max_attempts: int = 5
    seed: int = 42
    pairs: Pairs = "list"
    grounded: bool = True
    num_summaries: int = 0
    num_facts: int = 0
    answers: Answers = "with_questions"

    def __post_init__(self) -> None:
        """Check the values."""
        numbers = ("num_qas", *NUMBERS_OF_TEXTS.values())
        _require_at_least({**dict.fromkeys(numbers, 0), "max_attempts": 1}, self)
        if not any(getattr(self, name) for name in numbers):
            raise ValueError(f"{', '.join(numbers)} are all 0: ask for something")

    @property
    def settings(self) -> dict[str, str | int]:
        """What of it shapes the augmentations: more attempts only leave fewer documents failed."""
        return {
            "num_rewrites": self.num_rewrites,
            "num_qas": self.num_qas,
            "seed": self.seed,
            "pairs": self.pairs,
            "grounded": self.grounded,
            "num_summaries": self.num_summaries,
            "num_facts": self.num_facts,
            "answers": self.answers,
        }


def _require_at_least(least: dict[str, int], settings: object) -> None:
    for name, smallest in least.items():
        if getattr(settings, name) < smallest:
            raise ValueError(f"{name} {getattr(settings, name)}: give at least {smallest}")
