"""Merge rules: from a question's retrieved documents to the weights of their adapters."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from prag_lightning.documents.extensions import make_part


class MergeWeights(NamedTuple):
    """Weights of the documents' adapters, and of the warm start that they all share."""

    documents: tuple[float, ...]
    warm_start: float = 0.0


class MergeRule(ABC):
    """How much each adapter counts in a merge.

    Derive from this class for a rule of your own, and name it by its import path:
    ``--evaluation.merge my_rules.Closest``.
    """

    @abstractmethod
    def weigh(self, scores: Sequence[float]) -> MergeWeights:
        """Return a weight for each document.

        Args:
            scores: Retrieval scores of the documents that have adapters, best first; at least one.
        """


class Sum(MergeRule):
    """Every adapter counts once (Su et al. 2025, arXiv:2501.15915, section 3.3).

    The warm start, which all adapters share, then counts once for every document.

    >>> Sum().weigh([9.0, 8.0])
    MergeWeights(documents=(1.0, 1.0), warm_start=0.0)
    """

    def weigh(self, scores: Sequence[float]) -> MergeWeights:
        """Return 1 for each document."""
        return MergeWeights((1.0,) * len(scores))


class Mean(MergeRule):
    """All adapters count alike, and once in all.

    >>> Mean().weigh([9.0, 8.0])
    MergeWeights(documents=(0.5, 0.5), warm_start=0.0)
    """

    def weigh(self, scores: Sequence[float]) -> MergeWeights:
        """Return ``1 / k`` for each of ``k`` documents."""
        return MergeWeights((1.0 / len(scores),) * len(scores))


class Anchored(MergeRule):
    """Every adapter counts once, and the warm start once in all.

    What is added to the warm start is what each document changed.

    >>> Anchored().weigh([9.0, 8.0, 7.0])
    MergeWeights(documents=(1.0, 1.0, 1.0), warm_start=-2.0)
    """

    def weigh(self, scores: Sequence[float]) -> MergeWeights:
        """Return 1 for each document, and for the warm start what is too much of it."""
        return MergeWeights((1.0,) * len(scores), 1.0 - len(scores))


@dataclass(frozen=True)
class Score(MergeRule):
    """The best document counts once, the others by how close their retrieval scores are.

    The weight of a document is ``exp((score - best) / temperature)``; the warm start counts once in
    all.

    Args:
        temperature: In units of the retriever's scores: the lower, the more the best counts.

    Raises:
        ValueError: If the temperature is not above 0.
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a temperature that orders nothing."""
        if not self.temperature > 0:
            raise ValueError(
                f"the merge rule's temperature is {self.temperature}, but must be above 0"
            )

    def weigh(self, scores: Sequence[float]) -> MergeWeights:
        """Return 1 for the best document and less for the others."""
        best = max(scores)
        weights = tuple(math.exp((score - best) / self.temperature) for score in scores)
        return MergeWeights(weights, 1.0 - sum(weights))


MERGE_RULES = {
    "anchored": f"{__name__}.Anchored",
    "sum": f"{__name__}.Sum",
    "mean": f"{__name__}.Mean",
    "score": f"{__name__}.Score",
}


def make_merge_rule(spec: object) -> MergeRule:
    """Return the merge rule of a name, an import path, a mapping of either to settings, or itself.

    >>> make_merge_rule({"score": {"temperature": 2}})
    Score(temperature=2.0)

    Raises:
        ValueError: If there is no such rule.
    """
    return make_part("merge rule", spec, MergeRule, MERGE_RULES)  # type: ignore[type-abstract]
