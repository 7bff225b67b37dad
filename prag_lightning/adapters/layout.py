"""Memory layout of one adapter: a flat row, and the LoRA matrices within it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class LoraConfig:
    """The LoRA settings that all adapters of a bank or a store share (arXiv:2106.09685).

    Args:
        rank: Rank of each update.
        alpha: Numerator of the scaling ``alpha / rank``.
        target_modules: Trailing parts of the names of the linear layers to adapt.

    Raises:
        ValueError: If the rank is below 1, or no target module is named.
    """

    rank: int = 2
    alpha: float = 32.0
    target_modules: tuple[str, ...] = ("down_proj", "gate_proj", "up_proj")

    def __post_init__(self) -> None:
        """Refuse settings that would give an empty adapter."""
        if self.rank < 1:
            raise ValueError(f"the rank of an adapter is {self.rank}, but must be at least 1")
        if not self.target_modules:
            raise ValueError("no target modules are named; name the layers to adapt")

    @property
    def scaling(self) -> float:
        """Factor by which ``lora_B @ lora_A`` is multiplied."""
        return self.alpha / self.rank


@dataclass(frozen=True)
class LoraMatrix:
    """Offset and shape of one matrix within an adapter's flat row."""

    key: str
    shape: tuple[int, int]
    start: int

    @property
    def stop(self) -> int:
        """Offset at which the matrix ends in the flat row."""
        return self.start + self.shape[0] * self.shape[1]


@dataclass(frozen=True)
class AdapterLayout:
    """The order in which an adapter's matrices stand in a flat row.

    Args:
        modules: Name, ``in_features`` and ``out_features`` of each adapted linear layer, in the
            base model's order.
        rank: Rank of each update.
    """

    modules: tuple[tuple[str, int, int], ...]
    rank: int

    @cached_property
    def matrices(self) -> tuple[LoraMatrix, ...]:
        """All matrices in order, ``lora_A`` before ``lora_B``, with PEFT's keys."""
        matrices: list[LoraMatrix] = []
        start = 0
        for name, in_features, out_features in self.modules:
            for letter, shape in (
                ("A", (self.rank, in_features)),
                ("B", (out_features, self.rank)),
            ):
                key = f"base_model.model.{name}.lora_{letter}.weight"
                matrices.append(LoraMatrix(key, shape, start))
                start = matrices[-1].stop
        return tuple(matrices)

    @property
    def num_params(self) -> int:
        """Number of parameters in one adapter."""
        return self.matrices[-1].stop

    def split(self, row: Tensor) -> dict[str, Tensor]:
        """Return views of the matrices of a flat row, shape ``(num_params,)``, by PEFT key."""
        return {m.key: row[m.start : m.stop].view(m.shape) for m in self.matrices}

    def join(self, tensors: Mapping[str, Tensor], source: str) -> Tensor:
        """Return the flat row, shape ``(num_params,)``, that contains an adapter's matrices.

        Args:
            tensors: The matrices by PEFT key.
            source: Name of the adapter in error messages.

        Raises:
            ValueError: If a matrix is missing, unexpected or has the wrong shape.
        """
        expected = {m.key: m.shape for m in self.matrices}
        problem = _first_difference(expected, {k: tuple(t.shape) for k, t in tensors.items()})
        if problem:
            raise ValueError(
                f"{source}: {problem}; was it made for another base model, rank or target modules?"
            )
        return torch.cat([tensors[m.key].reshape(-1) for m in self.matrices])


def _first_difference(
    expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]
) -> str | None:
    def named(keys: Iterable[str]) -> str:
        return sorted(keys)[0]

    if missing := expected.keys() - found.keys():
        return f"{len(missing)} of {len(expected)} tensors are missing, '{named(missing)}' first"
    if unknown := found.keys() - expected.keys():
        return f"{len(unknown)} tensors belong to no adapted module, '{named(unknown)}' first"
    for key, shape in expected.items():
        if found[key] != shape:
            return f"tensor '{key}' has shape {found[key]}, expected {shape}"
    return None


def all_finite(numbers: Tensor) -> bool:
    """Return whether all numbers are finite; 25 times as fast as ``isfinite`` on a CPU."""
    return all(bool(torch.isfinite(extreme)) for extreme in torch.aminmax(numbers))
