"""Merging: the adapters of a batch's documents, and a route to them from its questions."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from prag_lightning.adapters.bank import Route
from prag_lightning.adapters.layout import AdapterLayout
from prag_lightning.adapters.merge import MergeRule, MergeWeights
from prag_lightning.documents.rankings import RetrievedDocument
from prag_lightning.documents.records import Document
from prag_lightning.encoding.plan import is_of_other_text


class Merge(NamedTuple):
    """Whose adapters one question merges.

    Args:
        documents: The documents that have adapters, best first.
        weights: How much each of them counts.
        missing: The documents that have none, or one of a text that has changed since.
    """

    documents: list[RetrievedDocument]
    weights: MergeWeights
    missing: list[RetrievedDocument]


class Adapters(Protocol):
    """Where adapters are read from: an open store, for example."""

    def __contains__(self, document_id: str) -> bool:
        """Say whether a document has an adapter."""

    def text_digest(self, document_id: str) -> str | None:
        """Return a digest of what a document's adapter was trained on."""

    def get_many(self, document_ids: Sequence[str]) -> Tensor:
        """Return adapters, shape ``(len(document_ids), num_params)``."""


class AdapterMerger:
    """Merges the adapters that questions need.

    Args:
        layout: How one adapter lies in memory.
        adapters: Where the adapters are; None where no question needs any.
        warm_start: The adapter that all of them started from, shape ``(num_params,)``, on the
            device of the model that answers.
        rule: How adapters are weighted.
        documents: The documents as they are now, by id.
    """

    def __init__(
        self,
        layout: AdapterLayout,
        adapters: Adapters | None,
        warm_start: Tensor,
        rule: MergeRule,
        documents: Mapping[str, Document],
    ) -> None:
        self.layout = layout
        self.adapters = adapters
        self.warm_start = warm_start
        self.rule = rule
        self.documents = documents
        self._usable: dict[str, bool] = {}

    def choose(self, documents: Sequence[RetrievedDocument]) -> Merge:
        """Return which of a question's documents are merged, and how they are weighted."""
        present = [found for found in documents if self._has_adapter(found.document_id)]
        missing = [found for found in documents if not self._has_adapter(found.document_id)]
        weights = self.rule.weigh([d.score for d in present]) if present else MergeWeights(())
        return Merge(present, weights, missing)

    def _has_adapter(self, document_id: str) -> bool:
        if document_id not in self._usable:
            digest = None if self.adapters is None else self.adapters.text_digest(document_id)
            document = self.documents.get(document_id)
            is_old = digest is not None and document and is_of_other_text(digest, document)
            self._usable[document_id] = digest is not None and not is_old
        return self._usable[document_id]

    def route(self, merges: Sequence[Merge], noise: bool = False) -> Route | None:
        """Read the distinct adapters of a batch, and route its rows to them.

        Args:
            merges: One for each row of the batch.
            noise: Take noise of the same size instead of the adapters.

        Returns:
            Which adapters each row uses, the warm start first; None where no row uses any.
        """
        ids = sorted({found.document_id for merge in merges for found in merge.documents})
        if not ids:
            return None
        assert self.adapters is not None
        rows = self.adapters.get_many(ids)
        if noise:
            rows = noise_like(rows, self.layout, ids)
        device = self.warm_start.device
        place_of = {document_id: place for place, document_id in enumerate(ids, start=1)}
        width = 1 + max(len(merge.documents) for merge in merges)
        slots = torch.zeros(len(merges), width, dtype=torch.long)
        weights = torch.zeros(len(merges), width)
        for row, merge in enumerate(merges):
            places = [place_of[found.document_id] for found in merge.documents]
            slots[row, 1 : 1 + len(places)] = torch.tensor(places, dtype=torch.long)
            row_weights = [merge.weights.warm_start, *merge.weights.documents]
            weights[row, : 1 + len(places)] = torch.tensor(row_weights)
        stacked = torch.cat([self.warm_start[None], rows.to(self.warm_start)])
        return Route(slots.to(device), weights.to(device), stacked)


def noise_like(adapters: Tensor, layout: AdapterLayout, document_ids: Sequence[str]) -> Tensor:
    """Return noise whose every matrix has the norm of the adapter's: size without knowledge.

    Args:
        adapters: Shape ``(n, num_params)``.
        layout: How one adapter lies in memory.
        document_ids: Whose adapters they are; a document's noise is the same in every run.

    Returns:
        Shape of ``adapters``.
    """
    rows = []
    for document_id in document_ids:
        seed = int.from_bytes(hashlib.sha256(document_id.encode()).digest()[:7], "big")
        generator = torch.Generator().manual_seed(seed)
        rows.append(torch.randn(adapters.shape[1:], generator=generator))
    noise = torch.stack(rows)
    for matrix in layout.matrices:
        part = slice(matrix.start, matrix.stop)
        norms = adapters[:, part].norm(dim=1, keepdim=True)
        noise[:, part] *= norms / noise[:, part].norm(dim=1, keepdim=True)
    return noise
