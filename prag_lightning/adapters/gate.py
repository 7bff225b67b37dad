"""The merge rule that leaves the adapters out where the model's first token advises against it."""

import math
from collections.abc import Sequence
from typing import Any

from prag_lightning.adapters.merge import MergeRule, MergeWeights, make_merge_rule


class Gate(MergeRule):
    """Merges by another rule, but only for questions on which the first token's entropy allows it.

    The entropy is that of the distribution of the answer's first token, in nats. Where it is too
    low without adapters, or too high with them, the question is answered without adapters. The
    latter is the self-gating of Zheng et al. 2026 (arXiv:2605.28889). Each limit that is set costs
    one more reading of every prompt that has adapters.

    Args:
        rule: Merge rule where the gate is open, in any form that `make_merge_rule` takes.
        least_without: Smallest entropy without adapters; 0 allows all.
        most_with: Largest entropy with the merged adapters; infinity allows all.

    Raises:
        ValueError: If the rule is unknown or a gate itself, or a limit is negative.
    """

    def __init__(
        self,
        rule: dict[str, Any] | str = "anchored",
        least_without: float = 0.0,
        most_with: float = math.inf,
    ) -> None:
        self.rule = make_merge_rule(rule)
        self.least_without = least_without
        self.most_with = most_with
        if isinstance(self.rule, Gate):
            raise ValueError(f"the merge rule {rule!r} is a gate around a gate; name both limits")
        for name in ("least_without", "most_with"):
            if not getattr(self, name) >= 0:
                raise ValueError(
                    f"the merge rule's {name} is {getattr(self, name)}, but must be at least 0"
                )

    @property
    def reads_without(self) -> bool:
        """Whether the entropy without adapters matters."""
        return self.least_without > 0

    @property
    def reads_with(self) -> bool:
        """Whether the entropy with the merged adapters matters."""
        return self.most_with < math.inf

    def weigh(self, scores: Sequence[float]) -> MergeWeights:
        """Return the weights where the gate is open, which are those of the rule."""
        return self.rule.weigh(scores)
