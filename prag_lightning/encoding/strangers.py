"""Adapters of other documents beside a document's own while it trains."""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from prag_lightning.adapters.bank import Route
from prag_lightning.adapters.store.recipe import digest_tensors


@dataclass(frozen=True)
class Strangers:
    """Finished adapters of other documents, randomly added to training steps.

    The draw depends only on the document, the step and the seed, so that a document trains in the
    same way beside any neighbours.

    Args:
        ids: Ids of the documents.
        rows: Their adapters, shape ``(len(ids), num_params)``.
        warm_start: The adapter that all were trained from, shape ``(num_params,)``. It is
            subtracted from every stranger, so that a step contains it once.
        probability: Share of the steps that have strangers.
        most: Such a step has 1 to ``most`` strangers, each number with the same probability.
        seed: Seed of the draws.
    """

    ids: Sequence[str]
    rows: Tensor
    warm_start: Tensor
    probability: float
    most: int
    seed: int = 0

    def draw(self, document_id: str, step: int) -> list[int]:
        """Return the indices into ``rows`` of the strangers of a step.

        Args:
            document_id: The document that trains.
            step: Number of steps that it took before.
        """
        key = f"{self.seed}:{step}:{document_id}".encode()
        chance = random.Random(hashlib.sha256(key).digest())
        if chance.random() >= self.probability:
            return []
        others = [place for place, name in enumerate(self.ids) if name != document_id]
        return chance.sample(others, min(chance.randint(1, self.most), len(others)))

    @property
    def wording(self) -> str:
        """The settings and the adapters as text, for the recipe."""
        digest = digest_tensors([("rows", self.rows)])
        return f"1 to {self.most} in {self.probability} of the steps, seed {self.seed}, {digest}"

    @cached_property
    def _finished(self) -> Tensor:
        """The strangers and, behind them, the warm start."""
        return torch.cat([self.rows, self.warm_start[None]])

    def beside(self, weight: Tensor, slots: Sequence[int], drawn: dict[int, list[int]]) -> Route:
        """Return the route of rows with their strangers.

        Args:
            weight: The bank's adapters, shape ``(num_slots, num_params)``; only they train.
            slots: Slot of each row.
            drawn: The strangers of each slot, as indices into ``rows``.
        """
        first = len(weight)
        warm_start = first + len(self.rows)
        width = max(len(drawn[slot]) for slot in slots)
        table, weights = [], []
        for slot in slots:
            places = [first + place for place in drawn[slot]]
            missing = width - len(places)
            table.append([slot, *places, *[slot] * missing, warm_start])
            weights.append([1.0] * (1 + len(places)) + [0.0] * missing + [-1.0 * len(places)])
        return Route(
            torch.tensor(table, device=weight.device),
            torch.tensor(weights, device=weight.device),
            torch.cat([weight, self._finished.to(weight)]),
        )
