"""Merging: the adapters of a batch's documents, and the route from its questions to them."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from numbers import Real
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from prag_lightning.adapters.bank import Route
from prag_lightning.adapters.gate import Gate
from prag_lightning.adapters.layout import AdapterLayout
from prag_lightning.adapters.merge import ChangingRule, MergeRule, MergeWeights
from prag_lightning.adapters.warm_start import adds_nothing
from prag_lightning.answering.batches import QuestionBatch
from prag_lightning.documents.rankings import RetrievedDocument
from prag_lightning.documents.records import Document
from prag_lightning.encoding.plan import is_of_other_text

# The largest weight that a model can compute with.
_LARGEST = torch.finfo(torch.float32).max
# Returns the entropy of each row's first token, shape ``(rows,)``, with the adapters of a route.
FirstTokenEntropy = Callable[[QuestionBatch, Route | None], Tensor]


class Merge(NamedTuple):
    """The adapters that one question merges.

    Args:
        documents: The documents that have adapters, best first.
        weights: The weight of each.
        missing: The documents without an adapter, or whose text has changed since.
        by_hand: Whether the weights were given, and are not those of the merge rule.
        is_left_out: Whether a gate left the adapters out; all weights are then 0.
    """

    documents: list[RetrievedDocument]
    weights: MergeWeights
    missing: list[RetrievedDocument]
    by_hand: bool = False
    is_left_out: bool = False

    def left_out(self) -> "Merge":
        """Return the merge without its adapters."""
        nothing = MergeWeights((0.0,) * len(self.documents))
        return self._replace(weights=nothing, is_left_out=True)


class Adapters(Protocol):
    """A source of adapters, such as an open store."""

    def __contains__(self, document_id: str) -> bool:
        """Return whether a document has an adapter."""

    def text_digest(self, document_id: str) -> str | None:
        """Return a digest of what a document's adapter was trained on."""

    def get_many(self, document_ids: Sequence[str]) -> Tensor:
        """Return adapters, shape ``(len(document_ids), num_params)``."""

    def mean(self) -> Tensor:
        """Return the mean of all adapters, shape ``(num_params,)``."""


class AdapterMerger:
    """Merges the adapters that questions need.

    Args:
        layout: Layout of one adapter in memory.
        adapters: Source of the adapters; None if no question needs any.
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
        self.gate = rule if isinstance(rule, Gate) else None
        self.rule = rule.rule if isinstance(rule, Gate) else rule
        self.documents = documents
        self._usable: dict[str, bool] = {}

    def with_rule(self, rule: MergeRule) -> "AdapterMerger":
        """Return a merger of the same adapters by another rule."""
        return AdapterMerger(self.layout, self.adapters, self.warm_start, rule, self.documents)

    def merge(
        self,
        batch: QuestionBatch,
        merges: Sequence[Merge],
        entropy: FirstTokenEntropy,
        noise: bool = False,
    ) -> tuple[Sequence[Merge], Route | None]:
        """Return what each row of a batch merges, and the route to it.

        Args:
            batch: The questions.
            merges: The adapters that were chosen for each row; a gate may leave them out, unless
                their weights were given by hand.
            entropy: Measures the entropy of first tokens for a rule with a gate.
            noise: Whether to use noise of the same norm instead of the adapters.
        """
        route = self.route(merges, noise)
        if self.gate is None or route is None or batch.warm_start_only:
            return merges, route
        open_rows = self._open_rows(batch, route, self.gate, entropy)
        open_rows |= torch.tensor([merge.by_hand for merge in merges], device=open_rows.device)
        merges = [
            merge if is_open or not merge.documents else merge.left_out()
            for merge, is_open in zip(merges, open_rows.tolist(), strict=True)
        ]
        return merges, _only(open_rows, route)

    def _open_rows(
        self, batch: QuestionBatch, route: Route, gate: Gate, entropy: FirstTokenEntropy
    ) -> Tensor:
        """Return the rows for which the gate is open, shape ``(rows,)``."""
        open_rows = torch.ones(len(route.slots), dtype=torch.bool, device=route.slots.device)
        if gate.reads_without:
            open_rows &= entropy(batch, None) >= gate.least_without
        if gate.reads_with and open_rows.any():
            open_rows &= entropy(batch, _only(open_rows, route)) <= gate.most_with
        return open_rows

    def choose_all(self, batch: QuestionBatch) -> list[Merge]:
        """Return the adapters that each row of a batch merges."""
        if batch.warm_start_only:
            alone = Merge([], MergeWeights((), warm_start=1.0), [])
            return [alone] * len(batch.questions)
        return [self.choose(documents) for documents in batch.adapters]

    def choose(self, documents: Sequence[RetrievedDocument]) -> Merge:
        """Return which of a question's documents are merged, and how they are weighted."""
        present = [found for found in documents if self._has_adapter(found.document_id)]
        missing = [found for found in documents if not self._has_adapter(found.document_id)]
        weights = self.rule.weigh([d.score for d in present]) if present else MergeWeights(())
        return Merge(present, weights, missing)

    def by_hand(
        self, weights: Mapping[str, float], found: Sequence[RetrievedDocument] = ()
    ) -> Merge:
        """Return the merge of documents whose weights are given.

        Args:
            weights: The weight of each document, by id.
            found: The documents that were found for the question; others have a score of 0.

        Raises:
            ValueError: If no weight is given, one is not finite, or a document is unknown or has
                no adapter.
        """
        if not weights:
            raise ValueError("no weight is given; leave them out for retrieval to decide")
        for document_id, weight in weights.items():
            # Also refuses what is no number, as no comparison with it is true.
            if not isinstance(weight, Real) or not abs(weight) <= _LARGEST:
                raise ValueError(
                    f"the weight of document '{document_id}' is {str(weight)[:40]!r}; give a "
                    "finite number"
                )
            if document_id not in self.documents:
                raise ValueError(f"there is no document '{document_id}' to give a weight to")
            if not self._has_adapter(document_id):
                raise ValueError(
                    f"document '{document_id}' has no adapter of its text as it is now, so that "
                    "it can be given no weight; encode it with `prag fit`"
                )
        scores = {one.document_id: one.score for one in found}
        documents = [RetrievedDocument(name, scores.get(name, 0.0)) for name in weights]
        hand = self.rule.by_hand([float(weight) for weight in weights.values()])
        return Merge(documents, hand, [], by_hand=True)

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
            noise: Whether to use noise of the same norm instead of the adapters.

        Returns:
            Which adapters each row uses, the warm start first, unless it is untrained and adds
            nothing; None where no row uses any.
        """
        ids = sorted({found.document_id for merge in merges for found in merge.documents})
        if not ids and not any(merge.weights.warm_start for merge in merges):
            return None
        uses_start = self._start_counts and any(merge.weights.warm_start for merge in merges)
        stacked = [self.warm_start[None]] if uses_start or not ids else []
        mean_place = len(stacked)
        if any(merge.weights.mean for merge in merges):
            stacked.append(self._mean[None])
        rows = self._read(ids, noise)
        first = len(stacked)
        stacked.append(rows)
        place_of = {document_id: place for place, document_id in enumerate(ids)}
        terms = []
        for merge in merges:
            places = [place_of[found.document_id] for found in merge.documents]
            weights, start = merge.weights, first
            if isinstance(self.rule, ChangingRule) and places and not merge.by_hand:
                changed, weights = self.rule.change(
                    rows[places], weights, self.warm_start, self.layout
                )
                places, start = list(range(len(changed))), sum(map(len, stacked))
                stacked.append(changed)
            own = [start + place for place in places]
            shared = [(0, weights.warm_start)] if weights.warm_start and uses_start else []
            if weights.mean:
                shared.append((mean_place, weights.mean))
            terms.append([*shared, *zip(own, weights.documents, strict=True)])
        # A copy of the only part would take as long as reading it.
        return _route(terms, torch.cat(stacked) if len(stacked) > 1 else rows)

    def _read(self, document_ids: list[str], noise: bool) -> Tensor:
        """Return adapters, shape ``(n, num_params)``, beside the warm start."""
        if not document_ids:
            return self.warm_start.new_empty(0, self.layout.num_params)
        assert self.adapters is not None
        rows = self.adapters.get_many(document_ids)
        if noise:
            rows = noise_like(rows, self.layout, document_ids)
        return rows.to(self.warm_start)

    @cached_property
    def _start_counts(self) -> bool:
        return not adds_nothing(self.warm_start, self.layout)

    @cached_property
    def _mean(self) -> Tensor:
        assert self.adapters is not None
        return self.adapters.mean().to(self.warm_start)


def _only(rows: Tensor, route: Route) -> Route | None:
    """Return a route that has no adapters but in some rows; None if it is in none.

    Args:
        rows: Which rows keep their adapters, shape ``(rows,)``.
        route: The route.
    """
    if not rows.any():
        return None
    assert route.weights is not None
    return replace(route, slots=route.slots * rows[:, None], weights=route.weights * rows[:, None])


def _route(terms: Sequence[Sequence[tuple[int, float]]], adapters: Tensor) -> Route:
    """Return a route whose rows are weighted sums of adapters.

    Args:
        terms: For each row, the indices of its adapters and their weights.
        adapters: All adapters, shape ``(n, num_params)``.
    """
    width = max(1, *map(len, terms))
    # Shorter rows are padded with terms of weight 0.
    filled = [[*row, *[(0, 0.0)] * (width - len(row))] for row in terms]
    slots = torch.tensor([[place for place, _ in row] for row in filled])
    weights = torch.tensor([[weight for _, weight in row] for row in filled])
    return Route(slots.to(adapters.device), weights.to(adapters.device), adapters)


def noise_like(adapters: Tensor, layout: AdapterLayout, document_ids: Sequence[str]) -> Tensor:
    """Return noise in which every matrix has the same norm as the adapter's.

    Args:
        adapters: Shape ``(n, num_params)``.
        layout: Layout of one adapter in memory.
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
