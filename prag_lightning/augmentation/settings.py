"""What is asked of a language model, and how it draws its answers."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sampling:
    """How a language model draws its tokens; the published settings.

    Args:
        temperature: Divides the logits; above 0.
        top_k: How many of the likeliest tokens take part; 0 for all.
        max_new_tokens: Tokens after which an answer is cut.
    """

    temperature: float = 0.7
    top_k: int = 50
    max_new_tokens: int = 512

    def __post_init__(self) -> None:
        """Check the values."""
        for name, least in {"top_k": 0, "max_new_tokens": 1}.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} {getattr(self, name)}: give at least {least}")
        if not self.temperature > 0:
            raise ValueError(f"temperature {self.temperature}: give more than 0")


@dataclass(frozen=True)
class Order:
    """What is wanted of every document.

    Args:
        num_rewrites: Rewrites of it.
        num_qas: Question-answer pairs about it.
        max_attempts: How often the same is asked, each time with another seed, before the document
            counts as failed.
        seed: Other seeds give other augmentations.
    """

    num_rewrites: int = 1
    num_qas: int = 3
    max_attempts: int = 5
    seed: int = 42

    def __post_init__(self) -> None:
        """Check the values."""
        for name, least in {"num_rewrites": 0, "num_qas": 1, "max_attempts": 1}.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} {getattr(self, name)}: give at least {least}")

    @property
    def settings(self) -> dict[str, int]:
        """What of it shapes the augmentations: more attempts only leave fewer documents failed."""
        return {"num_rewrites": self.num_rewrites, "num_qas": self.num_qas, "seed": self.seed}
