"""Merge rules that weigh a question's documents by their retrieval scores or their ranks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from prag_lightning.adapters.gate import Gate
from prag_lightning.adapters.merge import (
    ChangingRule,
    MergeRule,
    MergeWeights,
    anchored,
    make_merge_rule,
    require_positive,
)


@dataclass(frozen=True)
class _Scaled(MergeRule):
    """A rule whose weights are multiplied by a factor."""

    scale: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a scale that would subtract the adapters."""
        require_positive("scale", self.scale)


@dataclass(frozen=True)
class Sum(_Scaled):
    """Gives every adapter the same weight (Su et al. 2025, arXiv:2501.15915, section 3.3).

    The warm start, which all adapters contain, is therefore added once per document.

    >>> Sum().weigh([9.0, 8.0])
    MergeWeights(documents=(1.0, 1.0), warm_start=0.0, mean=0.0)

    Args:
        scale: Weight of each adapter.

    Raises:
        ValueError: If the scale is not above 0.
    """

    def weigh(self, scores: Sequence[float]) -> MergeWeights:
        """Return ``scale`` for each document."""
        return MergeWeights((self.scale,) * len(scores))


@dataclass(frozen=True)
class Mean(_Scaled):
    """Averages the adapters.

    >>> Mean().weigh([9.0, 8.0])
    MergeWeights(documents=(0.5, 0.5), warm_start=0.0, mean=0.0)

    Args:
        scale: Sum of all adapters' weights.

    Raises:
        ValueError: If the scale is not above 0.
    """

    def weigh(self, scores: Sequence[float]) -> MergeWeights:
        """Return ``scale / k`` for each of ``k`` documents."""
        return MergeWeights((self.scale / len(scores),) * len(scores))


@dataclass(frozen=True)
class Anchored(_Scaled):
    """Gives every adapter the same weight, and counts the warm start once.

    The merge is the warm start plus what each document changed.

    >>> Anchored().weigh([9.0, 8.0, 7.0])
    MergeWeights(documents=(1.0, 1.0, 1.0), warm_start=-2.0, mean=0.0)

    Args:
        scale: Weight of each document's change.

    Raises:
        ValueError: If the scale is not above 0.
    """

    def weigh(self, scores: Sequence[float]) -> MergeWeights:
        """Return ``scale`` for each document, and a warm start weight such that it counts once."""
        return anchored((self.scale,) * len(scores))


@dataclass(frozen=True)
class Score(MergeRule):
    """Gives the best document the largest weight, and the others less by retrieval score.

    The weight of a document is ``scale * exp((score - best) / temperature)``; the warm start counts
    once.

    Args:
        temperature: In units of the retriever's scores; the lower, the more the best one dominates.
        scale: Weight of the best document's change.

    Raises:
        ValueError: If the temperature or the scale is not above 0.
    """

    temperature: float = 1.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a temperature or a scale that is not positive."""
        require_positive("temperature", self.temperature)
        require_positive("scale", self.scale)

    def weigh(self, scores: Sequence[float]) -> MergeWeights:
        """Return ``scale`` for the best document and smaller weights for the others."""
        best = max(scores)
        return anchored(
            tuple(self.scale * math.exp((score - best) / self.temperature) for score in scores)
        )


@dataclass(frozen=True)
class Falling(MergeRule):
    """Uses fixed weights by rank, best document first; the warm start counts once.

    >>> Falling().weigh([9.0, 8.0, 7.0])
    MergeWeights(documents=(1.0, 0.25, 0.25), warm_start=-0.5, mean=0.0)

    Args:
        weights: Weights of the best document, the second best and so on; any further documents get
            the last weight.

    Raises:
        ValueError: If the list is empty, or an entry is not a number.
    """

    weights: tuple[float, ...] = (1.0, 0.25)

    def __post_init__(self) -> None:
        """Refuse an empty list, and entries that are not numbers."""
        if not self.weights or not all(math.isfinite(weight) for weight in self.weights):
            raise ValueError(
                f"the merge rule's weights are {list(self.weights)}; give at least one number, "
                "that of the best document first"
            )

    def weigh(self, scores: Sequence[float]) -> MergeWeights:
        """Return the weight of each rank."""
        last = len(self.weights) - 1
        return anchored(tuple(self.weights[min(rank, last)] for rank in range(len(scores))))


class Centered(MergeRule):
    """Counts the mean of the store's adapters once, as `Anchored` does the warm start.

    The merge is ``m + sum_j w_j (d_j - m)``, with the mean ``m`` of the store's adapters (see
    `AdapterStore.mean`) and the weights of another rule.

    >>> Centered().weigh([9.0, 8.0, 7.0])
    MergeWeights(documents=(1.0, 1.0, 1.0), warm_start=0.0, mean=-2.0)

    Args:
        rule: Merge rule for the documents' weights, in any form that `make_merge_rule` takes.
        share: Share of the excess that is subtracted from the mean, from 0 to 1; the rest is
            subtracted from the warm start.

    Raises:
        ValueError: If the rule is unknown or changes adapters, or the share is out of range.
    """

    def __init__(self, rule: dict[str, Any] | str = "anchored", share: float = 1.0) -> None:
        self.rule = make_merge_rule(rule)
        self.share = share
        if isinstance(self.rule, ChangingRule | Centered | Gate):
            raise ValueError(
                f"the merge rule {rule!r} cannot be centered; choose anchored, score or falling"
            )
        if not 0 <= share <= 1:
            raise ValueError(f"the merge rule's share is {share}, but must be from 0 to 1")

    def weigh(self, scores: Sequence[float]) -> MergeWeights:
        """Return the rule's weights, with the excess taken from the mean and the warm start."""
        documents = self.rule.weigh(scores).documents
        rest = 1.0 - sum(documents)
        return MergeWeights(documents, rest - self.share * rest, self.share * rest)
