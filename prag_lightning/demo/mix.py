"""How much of each kind of conversation every step of the base model's training holds."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch.utils.data import Dataset

from prag_lightning.demo.packing import Packed, pack
from prag_lightning.demo.samples import Samples, Turn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MAX_LENGTH = 1024
"""No conversation has more tokens."""


@dataclass(frozen=True)
class Kind:
    """One kind of conversation in the training mix.

    Args:
        draw: Draws one.
        early: How many each step of the first part of the training holds.
        late: How many each step holds after that.
    """

    draw: Callable[[Samples, random.Random], list[Turn]]
    early: int
    late: int


# Short contexts first: to find a person's fact among several forms there, and whole documents
# are read soon after.
MIX = (
    Kind(Samples.knowing, early=1024, late=1024),
    Kind(Samples.drill, early=768, late=128),
    Kind(Samples.reciting, early=0, late=64),
    Kind(lambda samples, rng: samples.reading(rng, 1), early=128, late=128),
    Kind(lambda samples, rng: samples.reading(rng, 2), early=0, late=128),
    Kind(lambda samples, rng: samples.reading(rng, 3), early=0, late=192),
    Kind(Samples.reasoning, early=0, late=64),
    Kind(Samples.rewriting, early=0, late=32),
    Kind(Samples.questioning, early=0, late=32),
)


@dataclass(frozen=True)
class TrainingSteps(Dataset[Packed]):
    """What every optimizer step trains on: a function of the seed and the step's number alone.

    Args:
        samples: Where conversations come from.
        tokenizer: Turns them into ids.
        seed: Other seeds give other conversations.
        num_early: Steps of the first part of the training.
        scale: Multiplies the number of conversations; 1 suits a large GPU.
    """

    samples: Samples
    tokenizer: "PreTrainedTokenizerBase"
    seed: int
    num_early: int
    scale: float

    def __getitem__(self, step: int) -> Packed:
        """Return the conversations of one step."""
        rng = random.Random(f"{self.seed}:{step}")
        conversations: list[list[Turn]] = []
        for kind in MIX:
            share = kind.early if step < self.num_early else kind.late
            conversations += [
                kind.draw(self.samples, rng) for _ in range(round(share * self.scale))
            ]
        return pack(conversations, self.tokenizer)
