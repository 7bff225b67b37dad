"""The interface of merge rules, and how they are selected by name."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from prag_lightning.adapters.layout import AdapterLayout
from prag_lightning.documents.extensions import make_part


class MergeWeights(NamedTuple):
    """The weights of the adapters in a merge.

    Attributes:
        documents: Weights of the documents' adapters.
        warm_start: Weight of the shared warm start.
        mean: Weight of the mean of all adapters in the store.
    """

    documents: tuple[float, ...]
    warm_start: float = 0.0
    mean: float = 0.0


class MergeRule(ABC):
    """Computes the weight of each adapter in a merge.

    To add a rule of your own, derive from this class and pass its import path:
    ``--evaluation.merge my_rules.Closest``.
    """

    @abstractmethod
    def weigh(self, scores: Sequence[float]) -> MergeWeights:
        """Return a weight for each document.

        Args:
            scores: Retrieval scores of the documents that have adapters, best first; at least one.
        """


class ChangingRule(MergeRule):
    """A merge rule that replaces the documents' adapters by other ones.

    Its ``weigh`` gives the documents' weights that are shown next to an answer.
    """

    @abstractmethod
    def change(
        self, adapters: Tensor, weights: MergeWeights, warm_start: Tensor, layout: AdapterLayout
    ) -> tuple[Tensor, MergeWeights]:
        """Return the adapters to add up, and their weights.

        Args:
            adapters: Adapters of one question's documents, best first, shape ``(k, num_params)``.
            weights: The weights that ``weigh`` returned.
            warm_start: The shared warm start, shape ``(num_params,)``.
            layout: Memory layout of one adapter.

        Returns:
            Adapters of shape ``(m, num_params)``, and ``m`` document weights.
        """


def anchored(documents: tuple[float, ...]) -> MergeWeights:
    """Return weights under which the warm start, which every adapter contains, counts once.

    Args:
        documents: Weights of the documents' adapters.
    """
    return MergeWeights(documents, 1.0 - sum(documents))


def require_positive(name: str, value: float) -> None:
    """Refuse a setting of a merge rule that is not above 0.

    Args:
        name: Name of the setting.
        value: Its value.

    Raises:
        ValueError: If it is not finite or not above 0.
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
    "gate": "prag_lightning.adapters.gate.Gate",
}


def make_merge_rule(spec: object) -> MergeRule:
    """Return the merge rule given by name, import path, mapping of either to settings, or instance.

    >>> make_merge_rule({"score": {"temperature": 2}})
    Score(temperature=2.0, scale=1.0)

    Raises:
        ValueError: If there is no such rule.
    """
    return make_part("merge rule", spec, MergeRule, MERGE_RULES)  # type: ignore[type-abstract]
