"""The TIES merge rule: trim small values, elect signs, and average the values that agree."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from prag_lightning.adapters.layout import AdapterLayout
from prag_lightning.adapters.merge import ChangingRule, MergeWeights, require_positive


@dataclass(frozen=True)
class Ties(ChangingRule):
    """TIES merging of the documents' changes (Yadav et al. 2023, arXiv:2306.01708, section 4).

    It is applied to the LoRA factors, as in PEFT's ``combination_type="ties"``: the task vector of
    a document is its ``lora_A`` and ``lora_B`` minus those of the warm start, and each matrix is
    trimmed separately. The adapter of a single document is left unchanged.

    Args:
        density: Fraction of each matrix's values to keep, the largest in magnitude.
        scale: Weight of the merged change.

    Raises:
        ValueError: If the density is not between 0 and 1, or the scale not above 0.
    """

    density: float = 0.5
    scale: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a density that keeps or trims nothing."""
        if not 0 < self.density < 1:
            raise ValueError(
                f"the merge rule's density is {self.density}, but must be between 0 and 1"
            )
        require_positive("scale", self.scale)

    def weigh(self, scores: Sequence[float]) -> MergeWeights:
        """Return ``scale / k`` for each of ``k`` documents; actual shares differ by parameter."""
        return MergeWeights((self.scale / len(scores),) * len(scores), 1.0 - self.scale)

    def change(
        self, adapters: Tensor, weights: MergeWeights, warm_start: Tensor, layout: AdapterLayout
    ) -> tuple[Tensor, MergeWeights]:
        """Return the merged adapter, shape ``(1, num_params)``."""
        # Imported here because it takes a second.
        from peft.utils.merge_utils import ties

        merged = adapters[0]
        if len(adapters) > 1:
            merged = warm_start.clone()
            ones = torch.ones(len(adapters)).to(adapters)
            for matrix in layout.matrices:
                part = slice(matrix.start, matrix.stop)
                changes = list(adapters[:, part] - warm_start[part])
                merged[part] += ties(changes, ones, self.density)
        return merged[None], MergeWeights((self.scale,), 1.0 - self.scale)
