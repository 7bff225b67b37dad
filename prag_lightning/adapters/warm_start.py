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
    """Where the warm start comes from.

    Args:
        path: Folder of an adapter in PEFT's format; ``random`` is an untrained one.
        seed: Of the untrained one.
    """

    path: str = RANDOM
    seed: int = 0

    def read(self, layout: AdapterLayout, lora: LoraConfig) -> Tensor:
        """Return the warm start, shape ``(num_params,)``, float32.

        Args:
            layout: How one adapter lies in memory.
            lora: The LoRA settings that it must have.

        Raises:
            FileNotFoundError: If the folder holds no adapter.
            ValueError: If that has another rank, scaling or base model than this run.
        """
        if self.path == RANDOM:
            return random_adapter(layout, self.seed)
        return read_adapter(self.path, layout, lora)


def random_adapter(layout: AdapterLayout, seed: int) -> Tensor:
    """Return an adapter as LoRA initializes it, shape ``(num_params,)``: it changes nothing yet.

    ``lora_A`` is uniform within ``1 / sqrt(in_features)`` and ``lora_B`` zero, as in PEFT.

    Args:
        layout: How one adapter lies in memory.
        seed: Seed of the numbers.
    """
    generator = torch.Generator().manual_seed(seed)
    row = torch.zeros(layout.num_params)
    for key, matrix in layout.split(row).items():
        if ".lora_A." in key:
            bound = 1 / math.sqrt(matrix.shape[1])
            matrix.uniform_(-bound, bound, generator=generator)
    return row


def adds_nothing(adapter: Tensor, layout: AdapterLayout) -> bool:
    """Say whether an adapter, shape ``(num_params,)``, leaves its base as it is.

    Args:
        adapter: The adapter.
        layout: How it lies in memory.
    """
    matrices = layout.split(adapter).items()
    return not any(m.any() for key, m in matrices if key.endswith("lora_B.weight"))
