"""The merge rule that keeps from each document what better-ranked ones do not write to already."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from prag_lightning.adapters.layout import AdapterLayout
from prag_lightning.adapters.merge import ChangingRule, MergeWeights, require_positive


@dataclass(frozen=True)
class Projection(ChangingRule):
    """Each adapter's update is made orthogonal to those of the documents before it.

    In every module, with an orthonormal basis ``Q`` of the columns of the ``lora_B`` of the
    documents before, the update ``lora_B @ lora_A`` becomes ``(I - Q Q^T) lora_B @ lora_A``: no
    output direction is written by two documents (as MergePRAG, ICLR 2026, merges its updates). The
    columns that all adapters have from a warm start are then counted once, too.

    Args:
        scale: What the merged adapters count.

    Raises:
        ValueError: If the scale is not above 0.
    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a scale that takes adapters away."""
        require_positive("scale", self.scale)

    def weigh(self, scores: Sequence[float]) -> MergeWeights:
        """Return ``scale`` for each document, of which something is taken away then."""
        return MergeWeights((self.scale,) * len(scores), 1.0 - self.scale)

    def change(
        self, adapters: Tensor, warm_start: Tensor, layout: AdapterLayout
    ) -> tuple[Tensor, MergeWeights]:
        """Return all, the others with less in their ``lora_B``, shape ``(k, num_params)``."""
        changed = adapters.clone()
        for matrix in layout.matrices[1::2]:
            part = slice(matrix.start, matrix.stop)
            lora_B = changed[:, part].view(-1, *matrix.shape)
            basis = _columns(lora_B[0])
            for rank in range(1, len(lora_B)):
                # Twice is enough for numerical orthogonality.
                for _ in range(2):
                    lora_B[rank] -= basis @ (basis.T @ lora_B[rank])
                basis = torch.cat([basis, _columns(lora_B[rank])], dim=1)
        return changed, MergeWeights((self.scale,) * len(adapters), 1.0 - self.scale)


def _columns(matrix: Tensor) -> Tensor:
    """Return an orthonormal basis of a matrix's columns, without directions of no size."""
    left, sizes, _ = torch.linalg.svd(matrix, full_matrices=False)
    tolerance = max(matrix.shape) * torch.finfo(matrix.dtype).eps
    columns: Tensor = left[:, sizes > tolerance * sizes.max()]
    return columns
