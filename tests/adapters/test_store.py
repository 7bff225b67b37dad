"""The promises that both layouts of a store keep."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from prag_lightning.adapters.layout import LoraConfig
from prag_lightning.adapters.recipe import Recipe, StoreDtype, StoreLayout
from prag_lightning.adapters.store import AdapterStore, open_store, repair_store, verify_store

RECIPE = Recipe(
    base_model="tiny/llama",
    base_digest="0123",
    lora=LoraConfig(rank=2, alpha=32.0, target_modules=("down_proj", "gate_proj")),
    modules=(("model.layers.0.mlp.gate_proj", 6, 10), ("model.layers.0.mlp.down_proj", 10, 6)),
    warm_start="random:0",
    training={"lr": 3e-4, "passes": 1, "quantization": None},
    prompt_version="1",
)
LAYOUTS: list[StoreLayout] = ["packed", "peft"]
FORMS: list[tuple[StoreLayout, StoreDtype]] = [
    ("packed", "float32"),
    ("packed", "bfloat16"),
    ("packed", "float16"),
    ("packed", "int8"),
    ("peft", "float32"),
    ("peft", "bfloat16"),
    ("peft", "float16"),
]


def adapters(num_documents: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_documents, RECIPE.layout.num_params, generator=generator)


def names(num_documents: int) -> list[str]:
    return [f"doc {number}" for number in range(num_documents)]


def fill(folder: Path, num_documents: int, layout: StoreLayout = "packed") -> Tensor:
    rows = adapters(num_documents)
    with open_store(folder, RECIPE, layout=layout, mode="write") as store:
        store.put_many(names(num_documents), rows, ["text"] * num_documents)
    return rows


@pytest.mark.parametrize(("layout", "dtype"), FORMS)
def test_what_was_put_is_got_in_any_order_by_the_writer_and_by_a_reader(
    tmp_path: Path, layout: StoreLayout, dtype: StoreDtype
) -> None:
    rows = adapters(5)
    exact: dict[StoreDtype, Callable[[Tensor], Tensor]] = {
        "float32": lambda row: row,
        "bfloat16": lambda row: row.bfloat16().float(),
        "float16": lambda row: row.half().float(),
    }
    expected = exact.get(dtype, lambda row: row)(rows)
    tolerance = rows.abs().max() / 127 / 2 if dtype == "int8" else 0.0
    with open_store(tmp_path, RECIPE, layout=layout, dtype=dtype, mode="write") as store:
        for document_id, row in zip(names(5), rows, strict=True):
            store.put(document_id, row, f"text of {document_id}")
        written = store.get_many(["doc 3", "doc 0", "doc 3"])
    with open_store(tmp_path, RECIPE, mode="read") as store:
        read = store.get_many(["doc 3", "doc 0", "doc 3"])
        assert sorted(store.ids()) == names(5)
        assert len(store) == 5
        assert store.text_digest("doc 2") == "text of doc 2"
        assert store.text_digest("doc 9") is None
        assert "doc 2" in store
        assert "doc 9" not in store
        assert store.get_many([]).shape == (0, rows.shape[1])
    assert torch.equal(written, read)
    assert (read - expected[[3, 0, 3]]).abs().max() <= tolerance
    assert not torch.equal(read[0], read[1])
