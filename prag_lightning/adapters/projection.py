"""The merge rule that projects each update off the output directions of better-ranked ones."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from prag_lightning.adapters.gate import Gate
from prag_lightning.adapters.layout import AdapterLayout
from prag_lightning.adapters.merge import ChangingRule, MergeWeights, make_merge_rule


class Projection(ChangingRule):
    """Makes each adapter's update orthogonal to those of the better-ranked documents.

    In each module, let ``Q`` be an orthonormal basis of the columns of the better-ranked documents'
    ``lora_B``. The update ``lora_B @ lora_A`` becomes ``(I - Q Q^T) lora_B @ lora_A``, so that no
    two documents write to the same output direction (as in MergePRAG, ICLR 2026). The part that all
    adapters share from a warm start then has the weight of the best document.

    Args:
        rule: Merge rule for the documents' weights, in any form that `make_merge_rule` takes.

    Raises:
        ValueError: If the rule is unknown or changes adapters itself.
    """

    def __init__(self, rule: dict[str, Any] | str = "anchored") -> None:
        self.rule = make_merge_rule(rule)
        if isinstance(self.rule, ChangingRule | Gate):
            raise ValueError(
                f"the merge rule {rule!r} cannot be projected; choose anchored, score or falling"
            )

    def weigh(self, scores: Sequence[float]) -> MergeWeights:
        """Return the rule's weights, and a warm start weight such that it counts once."""
        documents = self.rule.weigh(scores).documents
        return MergeWeights(documents, 1.0 - documents[0])

    def change(
        self, adapters: Tensor, weights: MergeWeights, warm_start: Tensor, layout: AdapterLayout
    ) -> tuple[Tensor, MergeWeights]:
        """Return the adapters with projected ``lora_B``, shape ``(k, num_params)``."""
        changed = adapters.clone()
        for matrix in layout.matrices[1::2]:
            part = slice(matrix.start, matrix.stop)
            lora_B = changed[:, part].view(-1, *matrix.shape)
            basis = _columns(lora_B[0])
            for rank in range(1, len(lora_B)):
                # Projecting twice is enough for numerical orthogonality.
                for _ in range(2):
                    lora_B[rank] -= basis @ (basis.T @ lora_B[rank])
                basis = torch.cat([basis, _columns(lora_B[rank])], dim=1)
        return changed, weights


def _columns(matrix: Tensor) -> Tensor:
    """Return an orthonormal basis of a matrix's columns, ignoring directions of zero norm."""
    left, sizes, _ = torch.linalg.svd(matrix, full_matrices=False)
    tolerance = max(matrix.shape) * torch.finfo(matrix.dtype).eps
    columns: Tensor = left[:, sizes > tolerance * sizes.max()]
    return columns
