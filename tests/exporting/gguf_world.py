"""A small store of adapters of all linear layers, attention included."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from prag_lightning.adapters.layout import AdapterLayout, LoraConfig
from prag_lightning.adapters.store.opening import AdapterStore, open_store
from prag_lightning.adapters.store.recipe import Recipe

PARTS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
LORA = LoraConfig(rank=2, alpha=8.0, target_modules=PARTS)


def random_rows(layout: AdapterLayout, count: int) -> Tensor:
    """Return random adapters, the first ones the same for any count."""
    generator = torch.Generator().manual_seed(0)
    return (
        torch.stack([torch.randn(layout.num_params, generator=generator) for _ in range(count)]) / 5
    )


def tiny_store(
    folder: Path,
    layout: AdapterLayout,
    document_ids: Sequence[str],
    rows: Tensor,
    lora: LoraConfig = LORA,
) -> AdapterStore:
    recipe = Recipe(
        base_model="tiny/llama",
        base_digest="0123",
        lora=lora,
        modules=layout.modules,
        warm_start="random:0",
        training={},
        prompt_version="1",
    )
    with open_store(folder / "store", recipe, mode="write") as writing:
        writing.put_many(document_ids, rows, ["text"] * len(rows))
    return open_store(folder / "store", mode="read")
