"""The commands ``prag store``."""

import json
import os
import re
import socket
from contextlib import suppress
from pathlib import Path

import pytest
import torch
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
from prag_lightning.cli.exit_status import DONE, TRY_AGAIN, USAGE
from prag_lightning.cli.main import main
from prag_lightning.cli.store import run_store
from prag_lightning.documents.entries import document_of
from prag_lightning.documents.records import Document, write_records
from prag_lightning.encoding.plan import EncodingTask
from prag_lightning.language_model.digest import base_digest, weights_digest
from tests.conftest import tiny_base

LORA = LoraConfig(rank=2, alpha=32.0)


def prag_store(*words: str | Path) -> None:
    run_store([str(word) for word in words])


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


def test_verify_calls_harmless_what_is(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with open_store(store, mode="read") as opened:
        recipe = opened.recipe
    with open_store(store, recipe, mode="write") as opened:
        opened.put_many(["a"], torch.ones(1, opened.layout.num_params), ["new text"])
    prag_store("verify", store)
    first, second, last = capsys.readouterr().out.splitlines()
    assert first.endswith("adapters that were replaced or deleted: 1 (harmless)")
    assert second == "1 harmless; `--repair true` tidies up"
    assert last == f"{store}: nothing is damaged"
    prag_store("verify", store, "--repair", "true")
    assert "1 harmless; tidied up" in capsys.readouterr().out
    prag_store("verify", store)
    assert capsys.readouterr().out == f"{store}: nothing is damaged\n"


def test_what_takes_time_says_what_it_does(
    store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    prag_store("verify", store)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("prag_lightning.cli.store_export._TAKES_TIME", 0)
    prag_store("verify", store)
    assert re.fullmatch(rf"reading [\d.]+ kB of {store}\n", capsys.readouterr().err)


def test_list_names_documents_with_digest_and_time(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_store(store, mode="read") as opened:
        recipe = opened.recipe
    with open_store(store, recipe, mode="write") as opened:
        hostile = "\x1b[31mred é 中"
        opened.put_many([hostile], torch.ones(1, opened.layout.num_params), ["0" * 32])
    prag_store("list", store)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert re.fullmatch(r"0{32}  2\d{3}-\d\d-\d\dT\d\d:\d\d:\d\dZ  \\x1b\[31mred é 中", lines[0])
    assert re.fullmatch(r"text {28}  2\S{19}  a", lines[1])


@pytest.mark.parametrize("words", [("a", "c"), ("--", "a", "c"), ("a", "--layout=packed", "c")])
def test_delete_takes_ids_as_words(
    store: Path, rows: Tensor, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    prag_store("delete", store, *words)
    assert capsys.readouterr().out == f"2 deleted; 1 documents are in {store}\n"
    with open_store(store, mode="read") as opened:
        assert list(opened.ids()) == ["b"]
        assert torch.equal(opened.get_many(["b"])[0], rows[1])


def test_delete_of_an_id_like_an_option_or_of_one_that_is_not_there(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["store", "delete", str(store), "--", "-1"]) == USAGE
    assert "holds no adapter of '-1'" in capsys.readouterr().err
    with pytest.raises(SystemExit) as left:
        main(["store", "delete", str(store)])
    assert left.value.code == USAGE
    assert len(capsys.readouterr().err.splitlines()) == 1
    with open_store(store, mode="read") as opened:
        assert len(opened) == 3


def test_a_store_that_a_run_writes_into_is_to_be_tried_again_later(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_store(store, mode="read") as opened:
        recipe = opened.recipe
    with open_store(store, recipe, mode="write"):
        for words in (["delete", str(store), "a"], ["verify", str(store), "--repair", "true"]):
            assert main(["store", *words]) == TRY_AGAIN
            assert f"prag: {store}: process" in capsys.readouterr().err
        assert main(["store", "list", str(store)]) == DONE


def test_the_status_of_a_store_says_what_is_done_by_whom_and_what_is_left(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "world").mkdir()
    documents = [Document(id=name, title="", text=f"text {name}") for name in "abcde"]
    write_records(tmp_path / "world" / "documents.jsonl", documents)
    with open_store(store, mode="read") as opened:
        recipe, row = opened.recipe, opened.get_many(["a"])
    edited = EncodingTask("b", (), "an earlier text").digest
    with open_store(store, recipe, mode="write") as opened:
        opened.put_many(["b"], row, [edited])
        opened.claim(["d"])
        prag_store("status", store, "--data.folder", tmp_path / "world", "--json")
        said = json.loads(capsys.readouterr().out)
        assert [said[f"num_{name}"] for name in ("documents", "planned", "outdated", "left")] == [
            *(3, 5, 1, 3)
        ]
        (writer,) = said["writers"]
        assert (writer["pid"], writer["state"], writer["num_claimed"]) == (
            os.getpid(),
            "writing",
            1,
        )
        prag_store("status", store, f"--data.folder={tmp_path / 'world'}")
        lines = capsys.readouterr().out
        assert re.search(r"left +3 of 5, 1 of them encoded from an earlier text", lines)
        assert f"writing, process {os.getpid()} on host {socket.gethostname()}" in lines
        assert "encoding 1" in lines
    prag_store("status", store)
    assert re.search(
        r"writer 0 +done, process .*, 3 documents, last write 2", capsys.readouterr().out
    )
    assert main(["store", "status", str(tmp_path)]) == USAGE


def test_stores_that_were_filled_apart_are_merged_into_a_new_one_or_the_first(
    store: Path, rows: Tensor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_store(store, mode="read") as opened:
        recipe = opened.recipe
    with open_store(tmp_path / "other", recipe, mode="write") as opened:
        opened.put_many(["c", "d"], rows[:2], ["text"] * 2)
    prag_store("merge", store, tmp_path / "other", "--output", tmp_path / "new")
    assert f"4 adapters were added to {tmp_path / 'new'}, which holds 4" in capsys.readouterr().out
    prag_store("merge", tmp_path / "other", store)
    assert f"2 adapters were added to {tmp_path / 'other'}, which" in capsys.readouterr().out
    with open_store(tmp_path / "new", mode="read") as opened:
        assert torch.equal(opened.get_many(["a", "c", "d"]), rows[[0, 2, 1]])
    with open_store(tmp_path / "other", mode="read") as opened:
        assert torch.equal(opened.get_many(["a", "c", "d"]), rows[[0, 0, 1]])
    for words in (["merge"], ["merge", str(store)]):
        with suppress(SystemExit):
            assert main(["store", *words]) == USAGE
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_store_of_a_run_is_named_where_its_folder_was_given(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = store.parent / "first run"
    run.mkdir()
    store.rename(run / "adapters")
    assert main(["store", "verify", str(run)]) == USAGE
    assert capsys.readouterr().err.rstrip().endswith(f"that of this run is {run}/adapters")


def test_export_writes_a_folder_for_every_document(
    store: Path, tmp_path: Path, layout: AdapterLayout, rows: Tensor
) -> None:
    prag_store("export", store, tmp_path / "each", "--separate", "true")
    lines = (tmp_path / "each/documents.jsonl").read_text().splitlines()
    folders = [json.loads(line) for line in lines]
    assert [folder["id"] for folder in folders] == ["a", "b", "c"]
    adapter = read_adapter(tmp_path / "each" / folders[2]["folder"], layout, LORA)
    assert torch.equal(adapter, rows[2])
    some = tmp_path / "some"
    prag_store("export", store, some, "--separate", "true", "--document_ids", '["c"]')
    assert len((tmp_path / "some/documents.jsonl").read_text().splitlines()) == 1


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


def test_export_says_which_rank_a_server_must_have_room_for(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prag_store("export", store, tmp_path / "merged", "--document_ids", '["a", "b", "c"]')
    said = capsys.readouterr().out.rstrip()
    assert said.endswith("of rank 6: vLLM and SGLang need --max-lora-rank 8")


def test_export_writes_gguf_files(
    store: Path, tmp_path: Path, base_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gguf = ("--format", "gguf", "--base", str(base_dir))
    prag_store("export", store, tmp_path / "one", "--document_ids", '["a", "b"]', *gguf)
    said = f"the adapters of 2 documents are in {tmp_path}/one/adapter.gguf, as one of rank 4\n"
    assert capsys.readouterr().out == said
    assert (tmp_path / "one/adapter.gguf").read_bytes()[:4] == b"GGUF"
    prag_store("export", store, tmp_path / "each", "--separate", "true", *gguf)
    assert len([*(tmp_path / "each").glob("*.gguf")]) == 3


def test_export_refuses_what_gguf_cannot_be(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="gguf is for adapters, not for a copy of the store"):
        prag_store("export", store, tmp_path / "copy", "--format", "gguf")
    words = ["export", str(store), str(tmp_path / "one"), "--format", "gguf", "--document_ids"]
    with pytest.raises(ValueError, match="no document is named"):
        prag_store(*words, "[]")
    monkeypatch.setattr("prag_lightning.exporting.gguf_base.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"package gguf.*pip install 'prag-lightning\[gguf\]'"):
        prag_store(*words, '["a"]')
    assert not (tmp_path / "one").exists()


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
        # What a run of `prag fit` writes, so that every change of the base is noticed.
        assert store.recipe.base_digest == base_digest(tiny_base())
        assert store.recipe.base_digest_version == 2
        assert store.recipe.sampled_base_digest == weights_digest(tiny_base())
        assert store.recipe.training == {"lr": "0.0003_epoch=1_direct"}
    by_text = tmp_path / "by_text"
    data_file = tmp_path / "total.json"
    prag_store("import", published, by_text, "tiny/llama", "--data_file", data_file)
    with open_store(by_text, mode="read") as store:
        ids = [document_of("", passage).id for passage in passages]
        assert torch.equal(store.get_many(ids), rows)
