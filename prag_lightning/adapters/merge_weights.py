"""Merge rules that weigh a question's documents by their retrieval scores or their ranks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from prag_lightning.adapters.merge import (
    ChangingRule,
    MergeRule,
    MergeWeights,
    anchored,
    make_merge_rule,
    require_positive,
)


@dataclass(frozen=True)
class Sum(MergeRule):
    """Every adapter counts alike (Su et al. 2025, arXiv:2501.15915, section 3.3).

    The warm start, which all adapters share, counts once for every document.

    >>> Sum().weigh([9.0, 8.0])
    MergeWeights(documents=(1.0, 1.0), warm_start=0.0, mean=0.0)

    Args:
        scale: What each adapter counts.

    Raises:
        ValueError: If the scale is not above 0.
    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a scale that takes adapters away."""
        require_positive("scale", self.scale)

    def weigh(self, scores: Sequence[float]) -> MergeWeights:
        """Return ``scale`` for each document."""
        return MergeWeights((self.scale,) * len(scores))


@dataclass(frozen=True)
class Mean(MergeRule):
    """All adapters count alike, and once in all.

    >>> Mean().weigh([9.0, 8.0])
    MergeWeights(documents=(0.5, 0.5), warm_start=0.0, mean=0.0)

    Args:
        scale: What all adapters count together.

    Raises:
        ValueError: If the scale is not above 0.
    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a scale that takes adapters away."""
        require_positive("scale", self.scale)

    def weigh(self, scores: Sequence[float]) -> MergeWeights:
        """Return ``scale / k`` for each of ``k`` documents."""
        return MergeWeights((self.scale / len(scores),) * len(scores))


@dataclass(frozen=True)
class Anchored(MergeRule):
    """Every adapter counts alike, and the warm start once in all.

    What is added to the warm start is what each document changed.

    >>> Anchored().weigh([9.0, 8.0, 7.0])
    MergeWeights(documents=(1.0, 1.0, 1.0), warm_start=-2.0, mean=0.0)

    Args:
        scale: What each document's change counts.

    Raises:
        ValueError: If the scale is not above 0.
    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a scale that takes adapters away."""
        require_positive("scale", self.scale)

    def weigh(self, scores: Sequence[float]) -> MergeWeights:
        """Return ``scale`` for each document, and for the warm start what is too much of it."""
        return anchored((self.scale,) * len(scores))


@dataclass(frozen=True)
class Score(MergeRule):
    """The best document counts most, the others by how close their retrieval scores are.

    The weight of a document is ``scale * exp((score - best) / temperature)``; the warm start counts
    once in all.

    Args:
        temperature: In units of the retriever's scores: the lower, the more the best counts.
        scale: What the best document's change counts.

    Raises:
        ValueError: If the temperature or the scale is not above 0.
    """

    temperature: float = 1.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a temperature that orders nothing."""
        require_positive("temperature", self.temperature)
        require_positive("scale", self.scale)

    def weigh(self, scores: Sequence[float]) -> MergeWeights:
        """Return ``scale`` for the best document and less for the others."""
        best = max(scores)
        return anchored(
            tuple(self.scale * math.exp((score - best) / self.temperature) for score in scores)
        )


@dataclass(frozen=True)
class Falling(MergeRule):
    """The weights of the documents are given, best first; the warm start counts once in all.

    >>> Falling().weigh([9.0, 8.0, 7.0])
    MergeWeights(documents=(1.0, 0.25, 0.25), warm_start=-0.5, mean=0.0)

    Args:
        weights: What the best document counts, the second and so on; further documents count as the
            last that is named.

    Raises:
        ValueError: If none is named, or one is not a number.
    """

    weights: tuple[float, ...] = (1.0, 0.25)

    def __post_init__(self) -> None:
        """Refuse weights that say nothing."""
        if not self.weights or not all(math.isfinite(weight) for weight in self.weights):
            raise ValueError(
                f"the merge rule's weights are {list(self.weights)}; give at least one number, "
                "that of the best document first"
            )

    def weigh(self, scores: Sequence[float]) -> MergeWeights:
        """Return the weights by rank."""
        last = len(self.weights) - 1
        return anchored(tuple(self.weights[min(rank, last)] for rank in range(len(scores))))


class Centered(MergeRule):
    """What all adapters of the store share counts once, as the warm start does by `Anchored`.

    The merge is ``m + sum_j w_j (d_j - m)``, with the mean ``m`` of the store's adapters (see
    `AdapterStore.mean`) and the weights of another rule.

    >>> Centered().weigh([9.0, 8.0, 7.0])
    MergeWeights(documents=(1.0, 1.0, 1.0), warm_start=0.0, mean=-2.0)

    Args:
        rule: Gives the documents' weights, in any of the forms that name a merge rule.
        share: How much of what is too much is taken from the mean, from 0 to 1; the rest is taken
            from the warm start.

    Raises:
        ValueError: If there is no such rule, it is none of weights alone, or the share is none.
    """

    def __init__(self, rule: dict[str, Any] | str = "anchored", share: float = 1.0) -> None:
        self.rule = make_merge_rule(rule)
        self.share = share
        if isinstance(self.rule, ChangingRule | Centered):
            raise ValueError(
                f"the merge rule {rule!r} cannot be centered; choose anchored, score or falling"
            )
        if not 0 <= share <= 1:
            raise ValueError(f"the merge rule's share is {share}, but must be from 0 to 1")

    def weigh(self, scores: Sequence[float]) -> MergeWeights:
        """Return the rule's weights, and for the mean what is too much of it."""
        documents = self.rule.weigh(scores).documents
        rest = 1.0 - sum(documents)
        return MergeWeights(documents, rest - self.share * rest, self.share * rest)
