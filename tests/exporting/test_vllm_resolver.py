"""Merges that vLLM asks for by name."""

import asyncio
import json
import os
import re
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import resolve_name
from types import SimpleNamespace
from typing import Any

import pytest
import safetensors.torch
import torch
import yaml
from torch import Tensor

from prag_lightning.adapters.bank import AdapterBank
from prag_lightning.adapters.layout import AdapterLayout
from prag_lightning.adapters.peft_format import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    adapter_bytes,
    config_json,
)
from prag_lightning.adapters.store.opening import open_store
from prag_lightning.documents.digests import text_digest
from prag_lightning.documents.records import Document, write_records
from prag_lightning.exporting.vllm_resolver import MergingResolver, register
from tests.conftest import tiny_base
from tests.exporting.gguf_world import LORA, random_rows, tiny_store
from tests.exporting.vllm_interface import has_msgspec, install

WHEEL = os.environ.get("PRAG_TEST_VLLM_WHEEL")
TEXTS = {
    "1": "Ada Lovelace was born in London.",
    "C++": "Bjarne Stroustrup was born in Aarhus.",
    "../../etc/passwd": "Grace Hopper was born in New York.",
    "gone": "Alan Turing was born in Maida Vale.",
}


@pytest.fixture(
    params=[
        "promised",
        pytest.param(
            "wheel",
            marks=pytest.mark.skipif(
                WHEEL is None or not has_msgspec(),
                reason="needs msgspec, and in PRAG_TEST_VLLM_WHEEL a wheel from `pip download "
                "--no-deps vllm`",
            ),
        ),
    ]
)
def registry(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    return install(monkeypatch, Path(str(WHEEL)) if request.param == "wheel" else None)


@pytest.fixture(scope="module")
def layout() -> AdapterLayout:
    return AdapterBank(tiny_base(), LORA, 1).layout


@pytest.fixture(scope="module")
def rows(layout: AdapterLayout) -> Tensor:
    """Adapters of the documents, and then the warm start."""
    return random_rows(layout, len(TEXTS) + 1)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory, layout: AdapterLayout, rows: Tensor) -> Path:
    """A run with a trained warm start, merged by `falling`, whose last document has changed.

    Its paths are relative to a folder that is not the present one.
    """
    root = tmp_path_factory.mktemp("here") / "runs/notes"
    root.mkdir(parents=True)
    documents = [Document(id=name, title="", text=text) for name, text in TEXTS.items()]
    with tiny_store(root, layout, [], rows[:0]) as empty:
        recipe = empty.recipe
    digests = [text_digest(document) for document in documents]
    with open_store(root / "adapters", recipe, mode="write") as store:
        store.put_many([*TEXTS], rows[:-1], [*digests[:-1], "0" * 64])
    (root / "warm_start").mkdir()
    (root / "warm_start" / WEIGHTS_FILE).write_bytes(adapter_bytes(rows[-1], layout))
    (root / "warm_start" / CONFIG_FILE).write_bytes(config_json(LORA, "tiny/llama"))
    (root / "folder").mkdir()
    write_records(root / "folder/documents.jsonl", documents)
    lora = {"rank": LORA.rank, "alpha": LORA.alpha, "target_modules": [*LORA.target_modules]}
    settings = {
        "trainer": {"accelerator": "cpu", "precision": "32-true"},
        "model": {
            "base": "tiny/llama", "lora": lora, "dtype": "auto", "quantization": None,
            "max_new_tokens": 3, "trust_remote_code": False, "store": "runs/notes/adapters",
        },
        "data": {
            "exemplars": None, "retriever": None, "folder": "runs/notes/folder",
            "template": "direct", "max_tokens": 100,
            "few_shot_in_training": True, "top_k": 2, "question_batch_size": 1,
        },
        "evaluation": {"merge": "falling", "scoring": "strict"},
        "warm_start": {"path": "runs/notes/warm_start", "seed": 0},
    }  # fmt: skip
    (root / "fit.yaml").write_text(yaml.safe_dump(settings))
    return root


@pytest.fixture
def resolver(registry: Any, run_dir: Path, tmp_path: Path) -> MergingResolver:
    return MergingResolver(run_dir, None, tmp_path / "cache", 10**8)


def resolve(resolver: MergingResolver, name: str, base: str = "tiny/llama") -> Any:
    return asyncio.run(resolver.resolve_lora(base, name))


def updates(row: Tensor, layout: AdapterLayout) -> Tensor:
    """Return all that an adapter adds to the base's weights, as one vector."""
    matrices = [*layout.split(row).values()]
    pairs = zip(matrices[::2], matrices[1::2], strict=True)
    return torch.cat([(LORA.scaling * lora_B @ lora_A).flatten() for lora_A, lora_B in pairs])


def served_updates(folder: str) -> Tensor:
    """Return the same of a folder, as vLLM computes it."""
    config = json.loads((Path(folder) / CONFIG_FILE).read_text())
    tensors = safetensors.torch.load_file(Path(folder) / WEIGHTS_FILE)
    scaling = config["lora_alpha"] / config["r"]
    return torch.cat(
        [
            (scaling * tensors[key.replace("lora_A", "lora_B")] @ tensors[key]).flatten()
            for key in sorted_as_trained(tensors)
        ]
    )


def sorted_as_trained(tensors: dict[str, Tensor]) -> list[str]:
    layout = AdapterBank(tiny_base(), LORA, 1).layout
    return [matrix.key for matrix in layout.matrices if ".lora_A." in matrix.key]


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("1", {"1": 1.0}),
        ('1+"C++"', {"1": 1.0, "C++": 0.25}),
        ('1*0.5 + "C++"*2', {"1": 0.5, "C++": 2.0}),
        ('"C++"+1+../../etc/passwd', {"C++": 1.0, "1": 0.25, "../../etc/passwd": 0.25}),
    ],
)
def test_a_merge_is_what_the_run_would_add_and_is_loaded_from_a_folder(
    resolver: MergingResolver,
    layout: AdapterLayout,
    rows: Tensor,
    name: str,
    weights: dict[str, float],
) -> None:
    request = resolve(resolver, name)
    assert request.lora_name == name
    folder = Path(request.lora_path)
    assert folder.is_absolute()
    assert re.fullmatch("[0-9a-f]{64}", folder.name)
    names = [*TEXTS, "warm start"]
    terms = [*weights.items(), ("warm start", 1 - sum(weights.values()))]
    expected = sum(weight * updates(rows[names.index(one)], layout) for one, weight in terms)
    found = served_updates(request.lora_path)
    assert (found - expected).abs().max() < 1e-4
    assert (found - updates(rows[2], layout)).abs().max() > 0.1


def test_what_is_found_for_a_question_is_what_its_documents_names_give(
    resolver: MergingResolver,
) -> None:
    asked = resolve(resolver, "prag:Where was Ada Lovelace born?")
    others = [name for name in TEXTS if name not in ("1", "gone")]
    named = [resolve(resolver, f'1+"{other}"') for other in others]
    assert asked.lora_path in [request.lora_path for request in named]


def test_the_config_passes_vllm_s_checks(resolver: MergingResolver) -> None:
    request = resolve(resolver, '1+"C++"')
    config = json.loads((Path(request.lora_path) / CONFIG_FILE).read_text())
    assert config["peft_type"] == "LORA"
    assert config["base_model_name_or_path"] == "tiny/llama"
    # Two documents and the warm start, at rank 2.
    assert (config["r"], config["lora_alpha"] / config["r"]) == (6, LORA.scaling)
    if "vllm.lora.peft_helper" in sys.modules:
        helper = import_module("vllm.lora.peft_helper").PEFTHelper
        read = helper.from_local_dir(request.lora_path, None)
        read.validate_legal(SimpleNamespace(max_lora_rank=8))
        assert read.vllm_lora_scaling_factor == LORA.scaling
        with pytest.raises(ValueError, match="LoRA rank 6 is greater than max_lora_rank 1"):
            read.validate_legal(SimpleNamespace(max_lora_rank=1))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("my-own-lora", "'my-own-lora' has no adapter of its present text"),
        ("../../etc/shadow", "'../../etc/shadow' has no adapter"),
        ("1+gone", "'gone' has no adapter of its present text"),
        ('"\\ud800"', "not Unicode text"),
        ("\0", r"'\\x00' has no adapter"),
        ("1++", "expected a document's id at character 3"),
    ],
)
def test_a_name_that_is_no_merge_is_left_to_other_resolvers_and_logged_in_one_line(
    resolver: MergingResolver,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    name: str,
    reason: str,
) -> None:
    assert resolve(resolver, name) is None
    assert re.search(reason, caplog.text)
    assert caplog.text.count("\n") == 1
    assert {path.name for path in tmp_path.glob("cache/*")} <= {".lock"}


def test_another_base_is_refused_and_the_variable_for_it_named(
    registry: Any, run_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    resolver = MergingResolver(run_dir, None, tmp_path / "cache", 10**8)
    assert resolve(resolver, "1", base="/models/llama") is None
    assert "set PRAG_VLLM_BASE='/models/llama'" in caplog.text
    told = MergingResolver(run_dir, "/models/llama", tmp_path / "other", 10**8)
    assert resolve(told, "1", base="/models/llama") is not None


def test_more_adapters_than_vllm_has_rank_for_are_refused(
    registry: Any, run_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("prag_lightning.exporting.vllm_resolver._MAX_RANK", 5)
    resolver = MergingResolver(run_dir, None, tmp_path / "cache", 10**8)
    assert resolve(resolver, '1+"C++"') is None
    assert "3 adapters of rank 2 make one of rank 6, more than 5" in caplog.text


def test_the_entry_point_registers_the_resolver_where_a_run_is_named(
    registry: Any, run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    (entry,) = re.findall(r'entry-points."vllm.general_plugins"\]\n\w+ = "(.*)"', text)
    assert resolve_name(entry) is register
    monkeypatch.delenv("PRAG_VLLM_RUN", raising=False)
    register()
    assert "prag-lightning" not in registry.resolvers
    monkeypatch.setenv("PRAG_VLLM_RUN", str(run_dir))
    monkeypatch.setenv("PRAG_VLLM_CACHE", str(tmp_path / "cache"))
    register()
    request = asyncio.run(registry.get_resolver("prag-lightning").resolve_lora("tiny/llama", "1"))
    assert Path(request.lora_path).parent == tmp_path / "cache"
    registry.resolvers.clear()
    monkeypatch.setenv("PRAG_VLLM_CACHE_GB", "-1")
    with pytest.raises(ValueError, match="PRAG_VLLM_CACHE_GB is '-1', but must be a n"):
        register()
    monkeypatch.setenv("PRAG_VLLM_RUN", str(tmp_path / "nowhere"))
    monkeypatch.delenv("PRAG_VLLM_CACHE_GB")
    with pytest.raises(FileNotFoundError, match=r"nowhere/fit\.yaml: no such file"):
        register()
