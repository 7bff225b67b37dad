"""GGUF files of adapters, read back and computed in a second way."""

import json
from pathlib import Path
from typing import Any

import fsspec  # type: ignore[import-untyped]
import gguf
import pytest
import torch
from torch import Tensor
from transformers import (
    Gemma2Config,
    GPT2Config,
    LlamaConfig,
    Phi3Config,
    PreTrainedConfig,
    Qwen3Config,
)
from transformers.modeling_gguf_pytorch_utils import LlamaTensorProcessor

from prag_lightning.adapters.bank import AdapterBank
from prag_lightning.adapters.layout import AdapterLayout
from prag_lightning.adapters.store.opening import AdapterStore, open_store
from prag_lightning.exporting.gguf_adapter import export_gguf, export_gguf_each
from prag_lightning.exporting.gguf_base import GgufBase, gguf_base
from tests.conftest import tiny_base
from tests.exporting.gguf_world import LORA, random_rows, tiny_store

IDS = ["a", "b/../ü+*", "c"]


@pytest.fixture(scope="module")
def layout() -> AdapterLayout:
    return AdapterBank(tiny_base(), LORA, 1).layout


@pytest.fixture(scope="module")
def rows(layout: AdapterLayout) -> Tensor:
    return random_rows(layout, 3)


@pytest.fixture(scope="module")
def store(
    tmp_path_factory: pytest.TempPathFactory, layout: AdapterLayout, rows: Tensor
) -> AdapterStore:
    return tiny_store(tmp_path_factory.mktemp("store"), layout, IDS, rows)


@pytest.fixture(scope="module")
def base(layout: AdapterLayout) -> GgufBase:
    return gguf_base(tiny_base().config, [name for name, _, _ in layout.modules])


def deltas(file: Path, config: PreTrainedConfig) -> dict[str, Tensor]:
    """Return the updates in a GGUF file by tensor, as transformers' own reader orders the rows."""
    reader = gguf.GGUFReader(file)
    alpha = reader.get_field("adapter.lora.alpha")
    assert alpha is not None
    pairs = {tensor.name: torch.from_numpy(tensor.data.copy()) for tensor in reader.tensors}
    processor = LlamaTensorProcessor(config.to_dict())
    updates = {}
    for name in {name.rpartition(".")[0] for name in pairs}:
        lora_A, lora_B = pairs[f"{name}.lora_a"], pairs[f"{name}.lora_b"]
        update = (alpha.contents() / lora_A.shape[0]) * lora_B @ lora_A
        updates[name] = torch.from_numpy(processor.process(update.numpy(), name).weights)
    return updates


def expected(row: Tensor, layout: AdapterLayout) -> dict[str, Tensor]:
    """Return an adapter's updates by llama.cpp's names, written out by hand."""
    parts = {
        "q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output",
        "gate_proj": "ffn_gate", "up_proj": "ffn_up", "down_proj": "ffn_down",
    }  # fmt: skip
    matrices = layout.split(row)
    updates = {}
    for name, _, _ in layout.modules:
        _, _, block, _, part = name.split(".")
        lora_A, lora_B = (
            matrices[f"base_model.model.{name}.lora_{letter}.weight"] for letter in "AB"
        )
        updates[f"blk.{block}.{parts[part]}.weight"] = LORA.scaling * lora_B @ lora_A
    return updates


def largest_difference(found: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    assert found.keys() == other.keys()
    return max(float((found[name] - other[name]).abs().max()) for name in found)


def test_the_file_of_an_adapter_holds_its_updates_in_llama_cpp_s_names_and_order(
    tmp_path: Path, store: AdapterStore, layout: AdapterLayout, rows: Tensor, base: GgufBase
) -> None:
    lora = export_gguf(store, [IDS[1]], [1.0], tmp_path / "one", base)
    assert lora == LORA
    file = tmp_path / "one/adapter.gguf"
    assert largest_difference(deltas(file, tiny_base().config), expected(rows[1], layout)) < 1e-6
    assert largest_difference(deltas(file, tiny_base().config), expected(rows[0], layout)) > 0.01
    # Left in transformers' order, the rows of queries would be another adapter's.
    lora_B = {t.name: t.data for t in gguf.GGUFReader(file).tensors}["blk.0.attn_q.weight.lora_b"]
    key = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight"
    assert (torch.from_numpy(lora_B.copy()) - layout.split(rows[1])[key]).abs().max() > 0.01


def test_the_fields_are_what_llama_cpp_checks(
    tmp_path: Path, store: AdapterStore, base: GgufBase
) -> None:
    export_gguf(store, IDS, [1.0, 0.5, 0.25], tmp_path / "three", base)
    reader = gguf.GGUFReader(tmp_path / "three/adapter.gguf")

    def field(name: str) -> Any:
        found = reader.get_field(name)
        assert found is not None
        return found.contents()

    assert field("general.type") == "adapter"
    assert field("general.architecture") == "llama"
    assert field("adapter.type") == "lora"
    assert field("adapter.lora.alpha") == 3 * LORA.alpha
    assert field("adapter.lora.task_name") == "a + b/../ü+* + c"


def test_a_merge_is_the_weighted_sum_and_counts_a_trained_warm_start_once(
    tmp_path: Path, store: AdapterStore, layout: AdapterLayout, rows: Tensor, base: GgufBase
) -> None:
    start = random_rows(layout, 4)[3]
    weights = [1.0, 0.5, 0.25]
    lora = export_gguf(store, IDS, weights, tmp_path / "three", base, (start, -0.75))
    assert lora.rank == 4 * LORA.rank
    terms = [expected(row, layout) for row in [*rows, start]]
    merged = {
        name: sum(w * term[name] for w, term in zip([*weights, -0.75], terms, strict=True))
        for name in terms[0]
    }
    found = deltas(tmp_path / "three/adapter.gguf", tiny_base().config)
    assert largest_difference(found, {n: torch.as_tensor(t) for n, t in merged.items()}) < 1e-5


def test_each_document_s_file_is_numbered_as_llama_server_numbers_it(
    tmp_path: Path, store: AdapterStore, layout: AdapterLayout, rows: Tensor, base: GgufBase
) -> None:
    url = f"memory://{tmp_path}/each"
    assert list(export_gguf_each(store, IDS, url, base, random_rows(layout, 4)[3])) == IDS
    fs, root = fsspec.url_to_fs(url)
    names = sorted(Path(path).name for path in fs.find(root))
    files = [f"{number:06}.gguf" for number in range(3)]
    assert names == [*files, "documents.jsonl", "warm_start.gguf"]
    fs.get(root, str(tmp_path / "each"), recursive=True)
    lines = (tmp_path / "each/documents.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"id": document_id, "file": file, "lora": number}
        for number, (document_id, file) in enumerate(zip(IDS, files, strict=True))
    ]
    for file, row in zip(files, rows, strict=True):
        found = deltas(tmp_path / "each" / file, tiny_base().config)
        assert largest_difference(found, expected(row, layout)) < 1e-6
    with pytest.raises(ValueError, match="already; give an empty or new folder"):
        list(export_gguf_each(store, IDS, url, base))


def test_a_document_that_is_not_stored_leaves_no_folder(
    tmp_path: Path, store: AdapterStore, base: GgufBase
) -> None:
    with pytest.raises(ValueError, match="no adapter of 'stranger'"):
        export_gguf(store, ["stranger"], [1.0], tmp_path / "one", base)
    assert not (tmp_path / "one").exists()


def test_the_prompt_of_training_goes_with_the_files(
    tmp_path: Path, store: AdapterStore, base: GgufBase
) -> None:
    prompt = {"user": "{question}", "assistant_start": "It is", "chat_template": "{{ messages }}"}
    recipe = store.recipe.model_copy(update={"prompt": prompt})
    with open_store(tmp_path / "store", recipe, mode="write") as kept:
        kept.put_many(["a"], store.get_many(["a"]), ["text"])
        export_gguf(kept, ["a"], [1.0], tmp_path / "one", base)
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == ["adapter.gguf", "chat_template.jinja", "prompt.json"]


@pytest.mark.parametrize(
    ("config", "module", "tensor", "num_heads"),
    [
        (LlamaConfig(), "model.layers.1.self_attn.k_proj", "blk.1.attn_k.weight", 32),
        (Qwen3Config(), "model.layers.1.self_attn.k_proj", "blk.1.attn_k.weight", None),
        (Gemma2Config(), "model.layers.0.mlp.down_proj", "blk.0.ffn_down.weight", None),
        (Phi3Config(), "model.layers.0.mlp.gate_up_proj", "blk.0.ffn_up.weight", None),
    ],
)
def test_layers_have_llama_cpp_s_names(
    config: PreTrainedConfig, module: str, tensor: str, num_heads: int | None
) -> None:
    base = gguf_base(config, [module])
    assert base.tensors == {module: tensor}
    assert base.num_heads.get(module) == num_heads


def test_a_base_or_a_layer_that_llama_cpp_has_in_another_form_is_refused() -> None:
    with pytest.raises(ValueError, match=r"of type 'gpt2' cannot be exported.*convert_lora_to_"):
        gguf_base(GPT2Config(), ["transformer.h.0.mlp.c_fc"])
    with pytest.raises(ValueError, match=r"layer 'model\.strange' has no counterpart in llama"):
        gguf_base(LlamaConfig(), ["model.strange"])
