"""Adapters for others: merged folders, and copies of stores."""

import json
import re
from pathlib import Path
from typing import Any

import fsspec  # type: ignore[import-untyped]
import peft
import pytest
import safetensors.torch
import torch
import yaml
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
from prag_lightning.adapters.store.export import (
    export_adapter,
    export_each,
    export_store,
    merge_rows,
)
from prag_lightning.adapters.store.opening import AdapterStore, open_store, verify_store
from prag_lightning.adapters.store.recipe import Recipe
from tests.adapters.store.store_world import put
from tests.conftest import tiny_base, tiny_tokenizer

LORA = LoraConfig(rank=2, alpha=32.0)
IDS = ["a", "b", "c"]


@pytest.fixture(scope="module")
def layout() -> AdapterLayout:
    return AdapterBank(tiny_base(), LORA, 1).layout


@pytest.fixture
def rows(layout: AdapterLayout) -> Tensor:
    return torch.randn(3, layout.num_params, generator=torch.Generator().manual_seed(0)) / 10


@pytest.fixture
def store(tmp_path: Path, layout: AdapterLayout, rows: Tensor) -> AdapterStore:
    recipe = Recipe(
        base_model="tiny/llama",
        base_digest="0123",
        lora=LORA,
        modules=layout.modules,
        warm_start="random:0",
        training={},
        prompt_version="1",
    )
    with open_store(tmp_path / "store", recipe, mode="write") as writing:
        writing.put_many(IDS, rows, ["text"] * 3)
    return open_store(tmp_path / "store", mode="read")


def logits(model: torch.nn.Module) -> Tensor:
    with torch.no_grad():
        result: Tensor = model(input_ids=torch.arange(12)[None]).logits
    return result


def peft_merge(folder: Path, rows: Tensor, weights: list[float], layout: AdapterLayout) -> Tensor:
    """Return the logits of PEFT's own merge by concatenation."""
    model: peft.PeftModel | None = None
    for number, row in enumerate(rows):
        one = folder / str(number)
        one.mkdir(parents=True)
        (one / WEIGHTS_FILE).write_bytes(adapter_bytes(row, layout))
        (one / CONFIG_FILE).write_bytes(config_json(LORA, "tiny/llama"))
        if model is None:
            model = peft.PeftModel.from_pretrained(tiny_base(), str(one), adapter_name="0")
        else:
            model.load_adapter(str(one), adapter_name=str(number))
    assert model is not None
    names = [str(number) for number in range(len(rows))]
    model.add_weighted_adapter(names, weights, "merged", combination_type="cat")
    model.set_adapter("merged")
    return logits(model)


def test_peft_loads_the_folder_of_a_document_of_a_store_as_it_is(
    tmp_path: Path, store: AdapterStore, layout: AdapterLayout, rows: Tensor
) -> None:
    with open_store(tmp_path / "folders", store.recipe, layout="peft", mode="write") as writing:
        put(writing, "a/../b", rows[0], "text")
    (weights,) = (tmp_path / "folders").rglob(WEIGHTS_FILE)
    loaded = peft.PeftModel.from_pretrained(tiny_base(), str(weights.parent))
    expected = peft_merge(tmp_path / "apart", rows[:1], [1.0], layout)
    assert (logits(loaded) - expected).abs().max() < 1e-5
    assert (logits(tiny_base()) - expected).abs().max() > 0.1


@pytest.mark.parametrize("weights", [[1.0, 1.0, 1.0], [1.0, 0.5, 0.25]])
def test_a_merged_folder_answers_as_peft_merges(
    tmp_path: Path,
    store: AdapterStore,
    layout: AdapterLayout,
    rows: Tensor,
    weights: list[float],
) -> None:
    expected = peft_merge(tmp_path / "apart", rows, weights, layout)
    export_adapter(store, IDS, weights, tmp_path / "merged")
    loaded = peft.PeftModel.from_pretrained(tiny_base(), str(tmp_path / "merged"))
    assert (logits(loaded) - expected).abs().max() < 1e-5
    assert (logits(tiny_base()) - expected).abs().max() > 0.1
    config = json.loads((tmp_path / "merged" / CONFIG_FILE).read_text())
    assert (config["r"], config["lora_alpha"]) == (6, 96)


def test_the_folder_of_one_document_holds_its_adapter_as_it_is(
    tmp_path: Path, store: AdapterStore, layout: AdapterLayout, rows: Tensor
) -> None:
    export_adapter(store, ["b"], [1.0], tmp_path / "one")
    assert torch.equal(read_adapter(tmp_path / "one", layout, LORA), rows[1])
    export_adapter(store, ["b"], [0.5], tmp_path / "half")
    half = safetensors.torch.load_file(tmp_path / "half" / WEIGHTS_FILE)
    for key, matrix in layout.split(rows[1]).items():
        expected = matrix if ".lora_A." in key else matrix / 2
        assert torch.equal(half[key], expected)


def test_a_merged_adapter_of_anchored_weights_adds_the_warm_start_once(
    tmp_path: Path, store: AdapterStore, layout: AdapterLayout, rows: Tensor
) -> None:
    warm_start = torch.ones(layout.num_params) / 20
    weights = [1.0, 1.0, 1.0]
    export_adapter(store, IDS, weights, tmp_path / "merged", warm_start=(warm_start, -2.0))
    loaded = peft.PeftModel.from_pretrained(tiny_base(), str(tmp_path / "merged"))
    everything = torch.cat([rows, warm_start[None]])
    expected = peft_merge(tmp_path / "apart", everything, [*weights, -2.0], layout)
    assert (logits(loaded) - expected).abs().max() < 1e-5
    untrained = AdapterLayout(layout.modules, layout.rank).split(torch.ones(layout.num_params))
    for key, matrix in untrained.items():
        if ".lora_B." in key:
            matrix.zero_()
    start = layout.join(untrained, "test")
    export_adapter(store, IDS, weights, tmp_path / "untrained", warm_start=(start, -2.0))
    assert json.loads((tmp_path / "untrained" / CONFIG_FILE).read_text())["r"] == 6


def test_the_config_is_what_servers_accept(tmp_path: Path, store: AdapterStore) -> None:
    export_adapter(store, IDS, [1.0] * 3, tmp_path / "merged", base_model="meta-llama/Llama-3.2-1B")
    config = json.loads((tmp_path / "merged" / CONFIG_FILE).read_text())
    # What vLLM's resolver and its check of LoRA settings read.
    assert config["peft_type"] == "LORA"
    assert config["base_model_name_or_path"] == "meta-llama/Llama-3.2-1B"
    assert config["modules_to_save"] is None
    assert config["use_dora"] is False
    assert config["use_rslora"] is False
    assert config["bias"] == "none"
    assert config["r"] <= 512
    assert config["target_modules"] == ["down_proj", "gate_proj", "up_proj"]


def test_a_merge_keeps_the_scaling(layout: AdapterLayout, rows: Tensor) -> None:
    _, merged_layout, merged_lora = merge_rows(rows, [1.0] * 3, layout, LORA)
    assert merged_lora.scaling == LORA.scaling
    assert merged_layout.num_params == 3 * layout.num_params


@pytest.mark.parametrize("scheme", ["memory", "file"])
def test_a_whole_store_is_copied_to_any_url_and_read_there(
    tmp_path: Path, store: AdapterStore, rows: Tensor, scheme: str
) -> None:
    url = f"{scheme}://{tmp_path}/copy"
    export_store(store, url)
    with open_store(url, store.recipe, mode="read") as copy:
        assert torch.equal(copy.get_many(["c", "a"]), rows[[2, 0]])
    assert verify_store(url) == []
    fs, root = fsspec.url_to_fs(url)
    assert not [path for path in fs.find(root) if path.endswith(".lock")]
    with pytest.raises(ValueError, match=r"holds 'manifest\.json' already; give an empty"):
        export_store(store, url)


def test_a_folder_is_exported_to_any_url(
    tmp_path: Path, store: AdapterStore, layout: AdapterLayout, rows: Tensor
) -> None:
    url = f"memory://{tmp_path}/adapter"
    export_adapter(store, ["a"], [1.0], url)
    assert torch.equal(read_adapter(url, layout, LORA), rows[0])
    with pytest.raises(ValueError, match="already"):
        export_adapter(store, ["a"], [1.0], url)


def test_a_copy_that_is_not_finished_is_no_store(
    tmp_path: Path, store: AdapterStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[str] = []
    real = store.files.open

    def noting(name: str) -> object:
        copied.append(name)
        return real(name)

    plan = list(store.copy_plan())
    monkeypatch.setattr(store, "copy_plan", lambda: plan)
    monkeypatch.setattr(store.files, "open", noting)
    export_store(store, tmp_path / "copy")
    # The index knows no more than the journal, and the journal no more than the shard.
    endings = [name.rpartition(".")[2] for name in copied]
    assert endings == ["sqlite", "jsonl", "safetensors", "json"]
    assert copied[-1] == "manifest.json"


PROMPT = {
    "user": "Use what you know.\n{passages}\n{exemplars}\nQuestion: {question} {{really}}",
    "passage": "Passage {number}: {text}\n",
    "assistant": "The answer is {answer}",
    "assistant_start": "The answer is",
    "exemplars": "Question: 1 + 1?\nAnswer: 2\n\n",
    "chat_template": "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>",
}


def with_prompt(store: AdapterStore, folder: Path, **changes: str) -> AdapterStore:
    """Return the same store with a recipe that keeps the prompt."""
    recipe = store.recipe.model_copy(update={"prompt": {**PROMPT, **changes}})
    with open_store(folder, recipe, mode="write") as writing:
        writing.put_many(IDS, store.get_many(IDS), ["text"] * 3)
    return open_store(folder, mode="read")


def test_an_exported_adapter_says_in_words_and_in_files_how_it_is_asked(
    tmp_path: Path, store: AdapterStore
) -> None:
    export_adapter(with_prompt(store, tmp_path / "with"), ["b"], [1.0], tmp_path / "one")
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == [
        "README.md", CONFIG_FILE, WEIGHTS_FILE, "chat_template.jinja", "prompt.json",
    ]  # fmt: skip
    assert (tmp_path / "one/chat_template.jinja").read_text() == PROMPT["chat_template"]
    fields = json.loads((tmp_path / "one/prompt.json").read_text())
    assert fields == {name: text for name, text in PROMPT.items() if name != "chat_template"}
    card = (tmp_path / "one/README.md").read_text()
    assert yaml.safe_load(card.split("---")[1])["base_model"] == "tiny/llama"
    assert '| documents | "b" |' in card
    user = "Use what you know.\n\nQuestion: 1 + 1?\nAnswer: 2\n\n\nQuestion: {question} {really}"
    assert user in card
    assert "begins with `The answer is`" in card


def test_an_adapter_of_a_store_that_did_not_keep_the_prompt_says_so(
    tmp_path: Path, store: AdapterStore
) -> None:
    export_adapter(store, IDS, [1.0] * 3, tmp_path / "merged")
    card = (tmp_path / "merged/README.md").read_text()
    assert "# Adapter of 3 documents" in card
    assert "a version that did not keep the prompt" in card
    assert not (tmp_path / "merged/prompt.json").exists()


@pytest.mark.parametrize("chat_template", ["", PROMPT["chat_template"]])
def test_the_code_on_a_model_card_asks_as_in_training_and_gets_the_adapter_s_answer(
    tmp_path: Path, store: AdapterStore, capsys: pytest.CaptureFixture[str], chat_template: str
) -> None:
    base, tokenizer = tiny_base(), tiny_tokenizer()
    tokenizer.chat_template = chat_template or None
    base.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    kept = with_prompt(store, tmp_path / "with", chat_template=chat_template)
    export_adapter(kept, ["a"], [1.0], tmp_path / "one", base_model=str(tmp_path / "base"))
    card = (tmp_path / "one/README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    exec(code.replace('"."', repr(str(tmp_path / "one"))), {})
    printed = capsys.readouterr().out
    user = (
        "Use what you know.\n\nQuestion: 1 + 1?\nAnswer: 2\n\n\n"
        "Question: Where was Ada Lovelace born? {really}"
    )
    text = f"<user>{user}<assistant>The answer is" if chat_template else f"{user}\nThe answer is"
    ids = tokenizer(text, add_special_tokens=not chat_template, return_tensors="pt").input_ids
    answers: list[str] = []
    models: list[Any] = [peft.PeftModel.from_pretrained(tiny_base(), str(tmp_path / "one"))]
    for model in [*models, tiny_base()]:
        output = model.generate(input_ids=ids, max_new_tokens=20, do_sample=False)
        answers.append(str(tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True)))
    assert printed == answers[0] + "\n"
    assert answers[0] != answers[1]


@pytest.mark.parametrize(
    "user", ["{question.__class__}", "{nonsense}", "{question:99999999999}", "{", "", "{0}"]
)
def test_the_prompt_of_a_stranger_s_store_is_text_and_no_format(
    tmp_path: Path, store: AdapterStore, user: str
) -> None:
    strange = with_prompt(store, tmp_path / "with", user=user)
    export_adapter(strange, ["a"], [1.0], tmp_path / "one")
    card = (tmp_path / "one/README.md").read_text()
    assert f"````text\n{user}\n````" in card
    assert f"user = {json.dumps(user)}.replace" in card


def test_every_document_is_exported_into_a_folder_of_its_own(
    tmp_path: Path, store: AdapterStore, layout: AdapterLayout, rows: Tensor
) -> None:
    assert list(export_each(store, IDS, tmp_path / "each")) == IDS
    lines = (tmp_path / "each/documents.jsonl").read_text().splitlines()
    folders = {row["id"]: row["folder"] for row in map(json.loads, lines)}
    assert list(folders) == IDS
    for document_id, row in zip(IDS, rows, strict=True):
        folder = tmp_path / "each" / folders[document_id]
        assert torch.equal(read_adapter(folder, layout, LORA), row)
        assert f'"{document_id}"' in (folder / "README.md").read_text()
    with pytest.raises(ValueError, match="already"):
        list(export_each(store, IDS, tmp_path / "each"))


def test_what_is_in_an_id_cannot_break_a_card(tmp_path: Path, store: AdapterStore) -> None:
    hostile = "a|b`c\n---\n# title"
    with open_store(tmp_path / "other", store.recipe, mode="write") as writing:
        put(writing, hostile, store.get_many(["a"])[0], "text")
        export_adapter(writing, [hostile], [1.0], tmp_path / "one")
    card = (tmp_path / "one/README.md").read_text()
    assert r'| documents | "a\|b\'c\n---\n# title" |'.replace(r"\'", "'") in card


def test_a_document_that_is_not_stored_is_named(tmp_path: Path, store: AdapterStore) -> None:
    with pytest.raises(ValueError, match="no adapter of 'stranger'"):
        export_adapter(store, ["a", "stranger"], [1.0, 1.0], tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
