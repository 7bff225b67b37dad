"""Merge rules: what they are, and how they are named."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from prag_lightning.adapters.layout import AdapterLayout
from prag_lightning.documents.extensions import make_part


class MergeWeights(NamedTuple):
    """What each adapter counts in a merge.

    Attributes:
        documents: Weights of the documents' adapters.
        warm_start: Weight of the warm start, from which they all started.
        mean: Weight of the mean of all adapters in the store.
    """

    documents: tuple[float, ...]
    warm_start: float = 0.0
    mean: float = 0.0


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


class ChangingRule(MergeRule):
    """A merge rule that puts other adapters in the place of the documents' own.

    Its ``weigh`` says what the documents count, as shown beside an answer.
    """

    @abstractmethod
    def change(
        self, adapters: Tensor, weights: MergeWeights, warm_start: Tensor, layout: AdapterLayout
    ) -> tuple[Tensor, MergeWeights]:
        """Return the adapters that are added up, and what each of them counts.

        Args:
            adapters: Those of one question's documents, best first, shape ``(k, num_params)``.
            weights: What ``weigh`` said of them.
            warm_start: What they started from, shape ``(num_params,)``.
            layout: How one adapter lies in memory.

        Returns:
            Adapters of shape ``(m, num_params)``, with ``m`` weights of documents.
        """


def anchored(documents: tuple[float, ...]) -> MergeWeights:
    """Return weights with which the warm start, which all adapters contain, counts once.

    Args:
        documents: What the documents' adapters count.
    """
    return MergeWeights(documents, 1.0 - sum(documents))


def require_positive(name: str, value: float) -> None:
    """Refuse a setting of a merge rule that is not above 0.

    Args:
        name: What the setting is called.
        value: Its value.

    Raises:
        ValueError: If it is not above 0, or not finite.
    """
    if not 0 < value < math.inf:
        raise ValueError(f"the merge rule's {name} is {value}, but must be above 0")


MERGE_RULES = {
    "anchored": "prag_lightning.adapters.merge_weights.Anchored",
    "sum": "prag_lightning.adapters.merge_weights.Sum",
    "mean": "prag_lightning.adapters.merge_weights.Mean",
    "score": "prag_lightning.adapters.merge_weights.Score",
    "falling": "prag_lightning.adapters.merge_weights.Falling",
    "centered": "prag_lightning.adapters.merge_weights.Centered",
    "ties": "prag_lightning.adapters.ties.Ties",
    "projection": "prag_lightning.adapters.projection.Projection",
}


def make_merge_rule(spec: object) -> MergeRule:
    """Return the merge rule of a name, an import path, a mapping of either to settings, or itself.

    >>> make_merge_rule({"score": {"temperature": 2}})
    Score(temperature=2.0, scale=1.0)

    Raises:
        ValueError: If there is no such rule.
    """
    return make_part("merge rule", spec, MergeRule, MERGE_RULES)  # type: ignore[type-abstract]
