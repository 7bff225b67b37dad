"""Settings of what a language model is asked for, and of how it samples."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from prag_lightning.documents.records import QuestionAnswer

# How question-answer pairs are requested.
Pairs = Literal["list", "one_by_one"]
# Whether answers come with their questions or are requested separately.
Answers = Literal["with_questions", "by_themselves"]
# Settings that augmentations depend on, by name; all augmentations in a file share them.
Settings = Mapping[str, str | int | float]
# Kinds of texts made from a document, and the setting for the number of each.
NUMBERS_OF_TEXTS = {
    "rewrite": "num_rewrites",
    "summary": "num_summaries",
    "facts": "num_facts",
    "implications": "num_implications",
}
# Value of a chat template variable.
TemplateSetting = str | int | float | bool
# Enough for a question and its answer; with four times as many, a model may think first.
_SHORT_TOKENS = 128


@dataclass(frozen=True)
class Sampling:
    """Sampling settings of a language model; temperature and top-k default to the published ones.

    Args:
        temperature: Divides the logits; above 0. Small models do better at 0.3.
        top_k: Number of most likely tokens to sample from; 0 for all.
        top_p: Cumulative probability of the tokens to sample from; 1 for all.
        max_new_tokens: Maximum number of tokens of an answer.
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
        """Return the maximum number of tokens of an answer, or of a short one."""
        short = max(_SHORT_TOKENS, self.max_new_tokens // 4)
        return min(short, self.max_new_tokens) if is_short else self.max_new_tokens


@dataclass(frozen=True)
class Order:
    """What to make of each document.

    Args:
        num_rewrites: Number of rewrites.
        num_qas: Number of question-answer pairs.
        max_attempts: Maximum number of times the same part is requested, each with another seed.
        seed: Random seed.
        pairs: ``list`` requests all pairs at once, as published, and one at a time if that fails
            twice; ``one_by_one`` requests one at a time, which suits small models.
        grounded: Whether to reject pairs and texts with names or numbers not in the document.
        num_summaries: Number of summaries, each kept as a further rewrite.
        num_facts: Number of lists of stated facts, each kept as a further rewrite.
        answers: ``with_questions`` uses the answers that come with the questions, as published;
            ``by_themselves`` requests each answer separately, with the document in the prompt.
        num_implications: Number of lists of what follows from the document, each kept as a further
            rewrite.
        num_unanswerable: Number of questions that the document does not answer.
        questions: File of augmentations whose questions are answered, instead of asking for pairs:
            another model's, say. Each answer is requested separately; ``num_qas`` has no effect.
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
    num_implications: int = 0
    num_unanswerable: int = 0
    questions: Path | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        numbers = ("num_qas", *NUMBERS_OF_TEXTS.values(), "num_unanswerable")
        _require_at_least({**dict.fromkeys(numbers, 0), "max_attempts": 1}, self)
        if self.questions is None and not any(getattr(self, name) for name in numbers):
            raise ValueError(f"{', '.join(numbers)} are all 0: ask for something")

    def given_pairs(self, document_id: str) -> "list[QuestionAnswer] | None":
        """Return the pairs whose questions are to be answered; None where pairs are requested.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged.
        """
        return None if self.questions is None else self._given.get(document_id, [])

    @cached_property
    def _given(self) -> "dict[str, list[QuestionAnswer]]":
        from prag_lightning.documents.records import Augmentation, read_unique

        assert self.questions is not None
        return {made.document_id: made.qas for made in read_unique(self.questions, Augmentation)}

    @property
    def settings(self) -> dict[str, str | int]:
        """Settings that affect augmentations; ``max_attempts`` only affects how many fail."""
        given: dict[str, str] = {}
        if self.questions is not None:
            told = [self._given[name] for name in sorted(self._given)]
            asked = "\n".join(pair.question for pairs in told for pair in pairs)
            given["questions"] = sha256(asked.encode()).hexdigest()[:16]
        return {
            **given,
            "num_rewrites": self.num_rewrites,
            "num_qas": self.num_qas,
            "seed": self.seed,
            "pairs": self.pairs,
            "grounded": self.grounded,
            "num_summaries": self.num_summaries,
            "num_facts": self.num_facts,
            "answers": self.answers,
            "num_implications": self.num_implications,
            "num_unanswerable": self.num_unanswerable,
        }


def _require_at_least(least: dict[str, int], settings: object) -> None:
    for name, smallest in least.items():
        if getattr(settings, name) < smallest:
            raise ValueError(f"{name} {getattr(settings, name)}: give at least {smallest}")
