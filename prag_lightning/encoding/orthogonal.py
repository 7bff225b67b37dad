"""Keeping documents' adapters orthogonal to a task adapter while they train."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from prag_lightning.adapters.layout import AdapterLayout
from prag_lightning.adapters.store.recipe import digest_tensors


@dataclass(frozen=True)
class TaskDirections:
    """The input directions that a task adapter reads, which documents' adapters are to leave alone.

    A penalty ``weight * sum_m |task_A @ lora_A^T|_F^2`` over modules ``m`` pushes each document's
    ``lora_A`` out of them; without a weight, it is projected out of them after every step, so that
    ``task_A @ lora_A^T`` is 0 (Su et al. 2026, arXiv:2604.26768: soft and hard orthogonality).

    Args:
        task_A: The task adapter's ``lora_A``, shape ``(task_rank, in_features)``, by the PEFT key
            of the documents' matrix of the same module.
        layout: Memory layout of one document's adapter.
        weight: Weight of the penalty; None projects.
    """

    task_A: dict[str, Tensor]
    layout: AdapterLayout
    weight: float | None = None

    @torch.no_grad()
    def start_(self, adapters: Tensor, slots: Sequence[int]) -> None:
        """Project adapters that begin, if there is no weight.

        Args:
            adapters: All adapters, shape ``(num_slots, num_params)``; modified in place.
            slots: Which of them begin.
        """
        if self.weight is None:
            self.project_(adapters, slots)

    @torch.no_grad()
    def project_(self, adapters: Tensor, slots: Sequence[int]) -> None:
        """Take the task's directions out of adapters' ``lora_A``.

        Args:
            adapters: All adapters, shape ``(num_slots, num_params)``; modified in place.
            slots: Which of them to project.
        """
        index = torch.tensor(slots, device=adapters.device)
        for key, part, shape in self._parts():
            basis = self._bases[key]
            lora_A = adapters[index, part].view(-1, *shape)
            lora_A = lora_A - lora_A @ basis @ basis.T
            adapters[index, part] = lora_A.flatten(1)

    @torch.no_grad()
    def add_penalty_(self, grad: Tensor, adapters: Tensor, slots: Sequence[int]) -> None:
        """Add the gradient of the penalty.

        Args:
            grad: Gradients of the adapters, shape ``(num_slots, num_params)``; modified in place.
            adapters: All adapters, of the same shape.
            slots: Which of them train.
        """
        assert self.weight is not None
        index = torch.tensor(slots, device=adapters.device)
        for key, part, shape in self._parts():
            task_A = self.task_A[key]
            overlap = adapters[index, part].view(-1, *shape) @ task_A.T
            grad[index, part] += 2 * self.weight * (overlap @ task_A).flatten(1)

    def _parts(self) -> Iterator[tuple[str, slice, tuple[int, int]]]:
        for matrix in self.layout.matrices:
            if matrix.key in self.task_A:
                yield matrix.key, slice(matrix.start, matrix.stop), matrix.shape

    @cached_property
    def _bases(self) -> dict[str, Tensor]:
        """Orthonormal bases of the directions, shape ``(in_features, dimensions)``, by key."""
        bases = {}
        for key, task_A in self.task_A.items():
            _, sizes, directions = torch.linalg.svd(task_A, full_matrices=False)
            tolerance = max(task_A.shape) * torch.finfo(task_A.dtype).eps
            bases[key] = directions[sizes > tolerance * sizes.max()].T.contiguous()
        return bases

    @property
    def wording(self) -> str:
        """The settings and the task adapter as text, for the recipe."""
        how = "projection" if self.weight is None else f"penalty {self.weight}"
        return f"{how}, {digest_tensors(sorted(self.task_A.items()))}"
