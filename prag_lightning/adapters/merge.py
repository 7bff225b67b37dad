"""Merge rules: from a question's retrieved documents to the weights of their adapters."""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

MergeRule = Literal["anchored", "sum", "mean", "score"]


class MergeWeights(NamedTuple):
    """Weights of the documents' adapters, and of the warm start that they all share."""

    documents: tuple[float, ...]
    warm_start: float = 0.0


def merge_weights(
    rule: MergeRule, scores: Sequence[float], temperature: float = 1.0
) -> MergeWeights:
    """Return how much each adapter counts in a merge.

    ``sum`` is the published rule (Su et al. 2025, arXiv:2501.15915, section 3.3). It counts the
    warm start once for every document; ``anchored`` takes it out again all but once, and so adds
    only what each document changed. ``score`` holds the best document at full weight and the
    others by ``exp((score - best) / temperature)``, anchored likewise.

    Args:
        rule: Name of the rule.
        scores: Retrieval scores of the documents, best first; empty where nothing was retrieved.
        temperature: Of ``score``, in units of the scores.

    Raises:
        ValueError: If the temperature is not above 0.

    >>> merge_weights("anchored", [9.0, 8.0, 7.0])
    MergeWeights(documents=(1.0, 1.0, 1.0), warm_start=-2.0)
    >>> merge_weights("mean", [9.0, 8.0])
    MergeWeights(documents=(0.5, 0.5), warm_start=0.0)
    """
    count = len(scores)
    if count == 0:
        return MergeWeights(())
    if rule == "sum":
        return MergeWeights((1.0,) * count)
    if rule == "mean":
        return MergeWeights((1.0 / count,) * count)
    if rule == "anchored":
        return MergeWeights((1.0,) * count, 1.0 - count)
    if not temperature > 0:
        raise ValueError(f"the merge rule's temperature is {temperature}, but must be above 0")
    best = max(scores)
    weights = tuple(math.exp((score - best) / temperature) for score in scores)
    return MergeWeights(weights, 1.0 - sum(weights))
