"""The commands ``prag store``."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from jsonargparse import auto_cli
from torch import Tensor

from prag_lightning.adapters.bank import AdapterBank
from prag_lightning.adapters.layout import AdapterLayout, LoraConfig
from prag_lightning.adapters.peft_format import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    adapter_bytes,
    config_json,
    read_adapter,
)
from prag_lightning.adapters.store.opening import open_store
from prag_lightning.adapters.store.recipe import Recipe, digest_tensors
from prag_lightning.adapters.warm_start import random_adapter
from prag_lightning.cli.store import STORE_COMMANDS
from prag_lightning.documents.formats.entries import document_of
from prag_lightning.language_model.base_model import weights_digest
from tests.conftest import tiny_base

LORA = LoraConfig(rank=2, alpha=32.0)


def prag_store(*words: str | Path) -> None:
    auto_cli(dict[str, Any](STORE_COMMANDS), args=[str(word) for word in words], prog="prag store")


@pytest.fixture(scope="module")
def layout() -> AdapterLayout:
    return AdapterBank(tiny_base(), LORA, 1).layout


@pytest.fixture
def rows(layout: AdapterLayout) -> Tensor:
    return torch.randn(3, layout.num_params, generator=torch.Generator().manual_seed(0)) / 10


@pytest.fixture
def store(tmp_path: Path, layout: AdapterLayout, rows: Tensor) -> Path:
    recipe = Recipe(
        base_model="tiny/llama",
        base_digest="0123",
        lora=LORA,
        modules=layout.modules,
        warm_start=digest_tensors([("warm_start", random_adapter(layout, seed=0))]),
        training={"lr": 3e-4},
        prompt_version="1",
    )
    with open_store(tmp_path / "store", recipe, mode="write") as opened:
        opened.put_many(["a", "b", "c"], rows, ["text"] * 3)
    return tmp_path / "store"


def test_stats_say_documents_bytes_and_recipe(
    store: Path, layout: AdapterLayout, capsys: pytest.CaptureFixture[str]
) -> None:
    prag_store("stats", store)
    num_bytes = sum(p.stat().st_size for p in store.rglob("*") if p.is_file())
    printed = {line[: line.index("  ")]: line.split("  ")[-1].strip()
               for line in capsys.readouterr().out.splitlines()}  # fmt: skip
    assert printed["documents"] == "3"
    assert printed["bytes"] == f"{num_bytes:,}"
    assert printed["bytes a document"] == f"{num_bytes / 3:,.0f}"
    assert printed["numbers an adapter"] == f"{layout.num_params:,} in float32"
    assert printed["base model"] == "tiny/llama (digest 0123)"
    assert printed["LoRA"] == "rank 2, alpha 32, down_proj, gate_proj, up_proj"
    assert printed["training: lr"] == "0.0003"


def test_verify_names_what_is_damaged_and_takes_it_out(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prag_store("verify", store)
    assert "nothing is damaged" in capsys.readouterr().out
    (shard,) = store.glob("writer-*/*.safetensors")
    with shard.open("rb+") as file:
        file.seek(4096)
        file.write(b"!")
    for options in ([], ["--repair", "true"]):
        with pytest.raises(SystemExit) as left:
            prag_store("verify", store, *options)
        assert left.value.code == 3
        printed = capsys.readouterr().out
        assert "writer-00000/000000.safetensors: document 'a': adapter 0 is damaged" in printed
        assert "1 damaged" in printed
    prag_store("verify", store)
    with open_store(store, mode="read") as opened:
        assert sorted(opened.ids()) == ["b", "c"]


def test_export_copies_a_store(
    store: Path, tmp_path: Path, rows: Tensor, capsys: pytest.CaptureFixture[str]
) -> None:
    prag_store("export", store, f"memory://{tmp_path}/copy")
    assert capsys.readouterr().out.startswith("4 files of")
    with open_store(f"memory://{tmp_path}/copy", mode="read") as copy:
        assert torch.equal(copy.get_many(["a", "b", "c"]), rows)


def test_export_writes_one_folder_for_documents(
    store: Path, tmp_path: Path, layout: AdapterLayout, rows: Tensor
) -> None:
    prag_store("export", store, tmp_path / "one", "--document_ids", '["b"]')
    assert torch.equal(read_adapter(tmp_path / "one", layout, LORA), rows[1])
    merged = tmp_path / "merged"
    prag_store("export", store, merged, "--document_ids", '["a", "b"]', "--base", "public/name")
    config = json.loads((merged / CONFIG_FILE).read_text())
    assert (config["r"], config["lora_alpha"]) == (4, 64)
    assert config["base_model_name_or_path"] == "public/name"


def test_export_refuses_another_warm_start_and_says_how_to_go_on(
    store: Path, tmp_path: Path
) -> None:
    words = ["export", str(store), str(tmp_path / "merged"), "--document_ids", '["a", "b"]']
    words += ["--seed", "1"]
    with pytest.raises(ValueError, match=r"seed 1, .* is not what the adapters .* --merge sum"):
        prag_store(*words)
    prag_store(*words, "--merge", "sum")


def test_import_stores_published_adapters_with_the_recipe_of_their_base(
    tmp_path: Path, layout: AdapterLayout, rows: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prag_lightning.language_model.base_model.load_base", lambda _: tiny_base())
    published = tmp_path / "lr=0.0003_epoch=1_direct" / "total"
    for number, row in enumerate(rows):
        folder = published / f"data_{number}" / "passage_0"
        folder.mkdir(parents=True)
        (folder / WEIGHTS_FILE).write_bytes(adapter_bytes(row, layout))
        (folder / CONFIG_FILE).write_bytes(config_json(LORA, "tiny/llama"))
    passages = ["Paris is big.", "Rome is old.", "Oslo is cold."]
    questions = [
        {"test_id": i, "question": "?", "answer": "", "passages": [p], "augment": [{"passage": p}]}
        for i, p in enumerate(passages)
    ]
    (tmp_path / "total.json").write_text(json.dumps(questions))
    prag_store("import", published, tmp_path / "store", "tiny/llama")
    with open_store(tmp_path / "store", mode="read") as store:
        ids = [f"data_{number}/passage_0" for number in range(3)]
        assert torch.equal(store.get_many(ids), rows)
        assert store.recipe.imported_from == "the published encoder"
        assert store.recipe.modules == layout.modules
        assert store.recipe.base_digest == weights_digest(tiny_base())
        assert store.recipe.training == {"lr": "0.0003_epoch=1_direct"}
    by_text = tmp_path / "by_text"
    data_file = tmp_path / "total.json"
    prag_store("import", published, by_text, "tiny/llama", "--data_file", data_file)
    with open_store(by_text, mode="read") as store:
        ids = [document_of("", passage).id for passage in passages]
        assert torch.equal(store.get_many(ids), rows)
