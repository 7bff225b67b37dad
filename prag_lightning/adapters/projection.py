"""The merge rule that keeps from each document what better-ranked ones do not write to already."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from prag_lightning.adapters.layout import AdapterLayout
from prag_lightning.adapters.merge import ChangingRule, MergeWeights, make_merge_rule


class Projection(ChangingRule):
    """Each adapter's update is made orthogonal to those of the documents before it.

    In every module, with an orthonormal basis ``Q`` of the columns of the ``lora_B`` of the
    documents before, the update ``lora_B @ lora_A`` becomes ``(I - Q Q^T) lora_B @ lora_A``: no
    output direction is written by two documents (as MergePRAG, ICLR 2026, merges its updates). What
    all adapters have from a warm start then counts as the best document does.

    Args:
        rule: Gives the documents' weights, in any of the forms that name a merge rule.

    Raises:
        ValueError: If there is no such rule, or it changes adapters itself.
    """

    def __init__(self, rule: dict[str, Any] | str = "anchored") -> None:
        self.rule = make_merge_rule(rule)
        if isinstance(self.rule, ChangingRule):
            raise ValueError(
                f"the merge rule {rule!r} cannot be projected; choose anchored, score or falling"
            )

    def weigh(self, scores: Sequence[float]) -> MergeWeights:
        """Return the rule's weights, and for the warm start what the best document lacks of it."""
        documents = self.rule.weigh(scores).documents
        return MergeWeights(documents, 1.0 - documents[0])

    def change(
        self, adapters: Tensor, weights: MergeWeights, warm_start: Tensor, layout: AdapterLayout
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
        return changed, weights


def _columns(matrix: Tensor) -> Tensor:
    """Return an orthonormal basis of a matrix's columns, without directions of no size."""
    left, sizes, _ = torch.linalg.svd(matrix, full_matrices=False)
    tolerance = max(matrix.shape) * torch.finfo(matrix.dtype).eps
    columns: Tensor = left[:, sizes > tolerance * sizes.max()]
    return columns
