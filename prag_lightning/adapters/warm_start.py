"""The one adapter that every document's training starts from."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from prag_lightning.adapters.layout import AdapterLayout, LoraConfig
from prag_lightning.adapters.peft_format import read_adapter

RANDOM = "random"


@dataclass(frozen=True)
class WarmStartSource:
    """Source of the warm start.

    Args:
        path: Folder of an adapter in PEFT's format, or ``random`` for an untrained one.
        seed: Seed of the untrained warm start.
    """

    path: str = RANDOM
    seed: int = 0

    def read(self, layout: AdapterLayout, lora: LoraConfig) -> Tensor:
        """Return the warm start, shape ``(num_params,)``, float32.

        Args:
            layout: Memory layout of one adapter.
            lora: The LoRA settings that it must have.

        Raises:
            FileNotFoundError: If the folder holds no adapter.
            ValueError: If its rank, scaling or base model differs from this run's.
        """
        if self.path == RANDOM:
            return random_adapter(layout, self.seed)
        return read_adapter(self.path, layout, lora)


def random_adapter(layout: AdapterLayout, seed: int) -> Tensor:
    """Return a freshly initialized adapter, shape ``(num_params,)``, which has no effect yet.

    ``lora_A`` is uniform within ``1 / sqrt(in_features)`` and ``lora_B`` is zero, as in PEFT.

    Args:
        layout: Memory layout of one adapter.
        seed: Random seed.
    """
    generator = torch.Generator().manual_seed(seed)
    row = torch.zeros(layout.num_params)
    for key, matrix in layout.split(row).items():
        if ".lora_A." in key:
            bound = 1 / math.sqrt(matrix.shape[1])
            matrix.uniform_(-bound, bound, generator=generator)
    return row


def adds_nothing(adapter: Tensor, layout: AdapterLayout) -> bool:
    """Return whether an adapter, shape ``(num_params,)``, leaves the base model unchanged.

    Args:
        adapter: The adapter, shape ``(num_params,)``.
        layout: Memory layout of the adapter.
    """
    matrices = layout.split(adapter).items()
    return not any(m.any() for key, m in matrices if key.endswith("lora_B.weight"))
