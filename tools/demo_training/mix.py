"""Shares of the kinds of conversation in each step of the base model's training."""

import random
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.utils.data import Dataset

from tools.demo_training.packing import ConversationEncoder, Packed, pack
from tools.demo_training.samples import Samples, Turn

_FEWEST_TOKENS = 32
"""Fewest tokens of a conversation."""


@dataclass(frozen=True)
class Kind:
    """One kind of conversation in the training mix.

    Args:
        draw: Draws a conversation.
        early: Its share of the conversations in the first part of training.
        late: Its share after that.
    """

    draw: Callable[[Samples, random.Random], list[Turn]]
    early: int
    late: int


# Short contexts first: there the model learns to find a person's fact among several, after which it
# soon learns to read whole documents.
MIX = (
    Kind(Samples.knowing, early=512, late=1400),
    Kind(Samples.drill, early=1024, late=64),
    Kind(Samples.reciting, early=0, late=64),
    Kind(lambda samples, rng: samples.reading(rng, 1), early=192, late=64),
    Kind(lambda samples, rng: samples.reading(rng, 2), early=64, late=96),
    Kind(lambda samples, rng: samples.reading(rng, 3), early=0, late=160),
    Kind(Samples.reasoning, early=0, late=64),
    Kind(Samples.rewriting, early=0, late=48),
    Kind(Samples.questioning, early=0, late=40),
)


@dataclass(frozen=True)
class TrainingSteps(Dataset[Packed]):
    """Training data of each optimizer step, a function of only the seed and the step's number.

    Args:
        samples: Draws conversations.
        encoder: Encodes them as token ids.
        seed: Seed of the conversations.
        num_early: Steps of the first part of training.
        num_tokens: Tokens of every step; the last conversation is truncated to fit.
    """

    samples: Samples
    encoder: ConversationEncoder
    seed: int
    num_early: int
    num_tokens: int

    def __getitem__(self, step: int) -> Packed:
        """Return the conversations of one step; all shapes are the same in every step."""
        rng = random.Random(f"{self.seed}:{step}")
        shares = [kind.early if step < self.num_early else kind.late for kind in MIX]
        encoded: list[tuple[list[int], list[int]]] = []
        missing = self.num_tokens
        while missing > 0:
            (kind,) = rng.choices(MIX, shares)
            ids, roles = self.encoder.encode(kind.draw(self.samples, rng))
            encoded.append((ids[:missing], roles[:missing]))
            missing -= len(ids)
        packed = pack(encoded)
        lengths = torch.zeros(self.num_tokens // _FEWEST_TOKENS, dtype=torch.long)
        lengths[: len(encoded)] = packed.lengths
        return Packed(packed.input_ids, packed.roles, lengths)
