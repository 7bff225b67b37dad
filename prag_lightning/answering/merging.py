"""Merging: the adapters of a batch's documents into the bank, and a route from its questions."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from prag_lightning.adapters.bank import AdapterBank, Route
from prag_lightning.adapters.layout import AdapterLayout
from prag_lightning.adapters.merge import MergeRule, MergeWeights, merge_weights
from prag_lightning.adapters.store.opening import AdapterStore
from prag_lightning.documents.rankings import RetrievedDocument


class Merge(NamedTuple):
    """Whose adapters one question merges.

    Args:
        documents: The documents that have adapters, best first.
        weights: How much each of them counts.
        missing: The documents that have none.
    """

    documents: list[RetrievedDocument]
    weights: MergeWeights
    missing: list[RetrievedDocument]


class AdapterMerger:
    """Brings the adapters that questions need into a bank.

    Args:
        bank: The bank of the base model that answers.
        store: Where the adapters are; None where no question needs any.
        warm_start: What all of them started from, shape ``(num_params,)``.
        rule: How adapters are weighted.
        temperature: Of the rule ``score``, in units of the retriever's scores.
    """

    def __init__(
        self,
        bank: AdapterBank,
        store: AdapterStore | None,
        warm_start: Tensor,
        rule: MergeRule,
        temperature: float = 1.0,
    ) -> None:
        self.bank = bank
        self.store = store
        self.warm_start = warm_start
        self.rule: MergeRule = rule
        self.temperature = temperature

    def choose(self, documents: Sequence[RetrievedDocument]) -> Merge:
        """Return which of a question's documents are merged, and how they are weighted."""
        has_adapter = [self.store is not None and d.document_id in self.store for d in documents]
        pairs = list(zip(documents, has_adapter, strict=True))
        present = [document for document, yes in pairs if yes]
        weights = merge_weights(self.rule, [d.score for d in present], self.temperature)
        return Merge(present, weights, [document for document, yes in pairs if not yes])

    def load(self, merges: Sequence[Merge], noise: bool = False) -> Route:
        """Put the distinct adapters of a batch into the bank, the warm start into its first slot.

        Args:
            merges: One for each row of the batch.
            noise: Put noise of the same size in their place.

        Returns:
            Which slots each row uses: the first, and those of its documents.
        """
        ids = sorted({found.document_id for merge in merges for found in merge.documents})
        if self.bank.num_slots < len(ids) + 1:
            self.bank.resize(len(ids) + 1)
        self.bank.load(0, self.warm_start)
        if ids:
            assert self.store is not None
            adapters = self.store.get_many(ids)
            if noise:
                adapters = noise_like(adapters, self.bank.layout)
            for slot, row in enumerate(adapters, start=1):
                self.bank.load(slot, row)
        slot_of = {document_id: slot for slot, document_id in enumerate(ids, start=1)}
        width = 1 + max(len(merge.documents) for merge in merges)
        slots = torch.zeros(len(merges), width, dtype=torch.long)
        weights = torch.zeros(len(merges), width)
        for row, merge in enumerate(merges):
            places = [slot_of[found.document_id] for found in merge.documents]
            slots[row, 1 : 1 + len(places)] = torch.tensor(places, dtype=torch.long)
            row_weights = [merge.weights.warm_start, *merge.weights.documents]
            weights[row, : 1 + len(places)] = torch.tensor(row_weights)
        device = self.bank.weight.device
        return Route(slots.to(device), weights.to(device))


def noise_like(adapters: Tensor, layout: AdapterLayout) -> Tensor:
    """Return noise whose every matrix has the norm of the adapter's: size without knowledge.

    Args:
        adapters: Shape ``(n, num_params)``.
        layout: Of one adapter.

    Returns:
        Shape of ``adapters``; the same for the same number of adapters.
    """
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(adapters.shape, generator=generator)
    for matrix in layout.matrices:
        part = slice(matrix.start, matrix.stop)
        norms = adapters[:, part].norm(dim=1, keepdim=True)
        noise[:, part] *= norms / noise[:, part].norm(dim=1, keepdim=True)
    return noise
