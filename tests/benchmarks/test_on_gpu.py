"""The measurement on a GPU, tried on a CPU: what ends a stage, what is kept, and every stage."""

import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import on_gpu, quantized
from benchmarks.gpu_goals import goals
from benchmarks.gpu_stages import Setting
from benchmarks.on_gpu import STAGES, Stage, run_stage
from benchmarks.quantized import TINY_8B, nf4_base
from benchmarks.stage_results import StageResults
from benchmarks.workload import random_base

FORK = multiprocessing.get_context("fork")
SETTING = Setting("cpu", tiny=True)


def hang(setting: Setting, results: StageResults) -> None:
    results.add({"name": "first", "figure": 1.0})
    # What it started hangs as well.
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    results.note(child=child.pid)
    time.sleep(60)


def fail(setting: Setting, results: StageResults) -> None:
    results.add({"name": "first", "figure": 2.0})
    raise torch.OutOfMemoryError("no room for 8 GiB")


def die(setting: Setting, results: StageResults) -> None:
    os.kill(os.getpid(), 9)


def succeed(setting: Setting, results: StageResults) -> None:
    results.add({"name": "first", "figure": 3.0})


def content_after(
    measure: Callable[[Setting, StageResults], None], limit: float, folder: Path
) -> Any:
    file = folder / "stage.json"
    run_stage(Stage("a stage", limit, measure), SETTING, file, limit, FORK)
    return json.loads(file.read_text())


def test_a_stage_that_hangs_is_ended_with_what_it_started_and_keeps_its_figures(
    tmp_path: Path,
) -> None:
    content = content_after(hang, 1.5, tmp_path)
    assert content["status"] == "ended at its time limit"
    assert content["rows"] == [{"name": "first", "figure": 1.0}]
    assert content["seconds"] < 10
    # A process that has ended, but was not waited for, has no command line.
    command = Path(f"/proc/{content['child']}/cmdline")
    assert not command.exists() or not command.read_bytes()


def test_a_stage_that_fails_says_why_and_keeps_its_figures(tmp_path: Path) -> None:
    content = content_after(fail, 60, tmp_path)
    assert content["status"] == "failed: OutOfMemoryError: no room for 8 GiB"
    assert content["rows"] == [{"name": "first", "figure": 2.0}]
    assert content_after(die, 60, tmp_path)["status"] == "failed: exit status -9"


def test_stages_follow_each_other_until_the_time_is_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = {"a": Stage("good", 60, succeed), "b": Stage("bad", 60, fail)}
    monkeypatch.setattr(on_gpu, "STAGES", stages)
    on_gpu.run(tmp_path / "whole", "cpu", tiny=True, total_s=60, stages="ba")
    statuses = {
        letter: json.loads((tmp_path / "whole" / f"{letter}.json").read_text())["status"]
        for letter in "ab"
    }
    assert statuses == {"a": "done", "b": "failed: OutOfMemoryError: no room for 8 GiB"}
    on_gpu.run(tmp_path / "short", "cpu", tiny=True, total_s=1, stages="a")
    content = json.loads((tmp_path / "short" / "a.json").read_text())
    assert (content["status"], content["rows"]) == ("not begun: no time was left", [])
    with pytest.raises(ValueError, match="stage h needs --gguf and --squad"):
        on_gpu.run(tmp_path, "cpu", stages="h")


def test_goals_take_the_best_figure_and_a_ratio_of_1_is_reached() -> None:
    rows = [
        {"name": "published", "times_published": 1.0, "times_persistent": 0.5},
        {"name": "bank-32-rows", "times_published": 150.0, "fraction_of_limit": 0.3},
    ]
    compiled = [{"name": "bank-32-rows", "fraction_of_limit": 0.54}]
    memory = [{"name": "bank-8-rows", "peak_gib": 12.0}, {"name": "bank-4-rows", "peak_gib": 8.0}]
    found = {"b": {"rows": rows}, "c": {"rows": compiled}, "f": {"rows": memory}}
    ratios = {row["name"]: row["ratio"] for row in goals(found)}
    assert ratios == {
        "encoding, times the published procedure": 1.5,
        "encoding, times a careful PEFT loop": None,
        "encoding, share of the bfloat16 matrix rate": pytest.approx(1.2),
        "answering, times the published loop": None,
        "8B in NF4, GiB": 3.0,
        "host, ms a document-step": None,
    }


def test_a_base_made_layer_by_layer_in_nf4_is_nearly_the_same_in_16_bits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("bitsandbytes")
    base = nf4_base(TINY_8B, torch.device("cpu"))
    assert len(base.model.layers) == base.config.num_hidden_layers == TINY_8B.layers
    ids = torch.arange(20)[None]
    monkeypatch.setattr(quantized, "_quantize", lambda layer: None)
    exact = nf4_base(TINY_8B, torch.device("cpu"))
    found, expected = (model(input_ids=ids).logits for model in (base, exact))
    difference = (found - expected).norm() / expected.norm()
    assert 0 < difference < 0.3
    names = {type(module).__name__ for module in base.model.layers.modules()}
    assert "Linear4bit" in names
    assert "Linear" not in names
    # The layers are those of a base that is made at once.
    whole = random_base(TINY_8B, torch.device("cpu"))
    shapes = {name: p.shape for name, p in whole.named_parameters()}
    assert {name: p.shape for name, p in exact.named_parameters()} == shapes


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_every_stage_runs_at_toy_shapes(tmp_path: Path) -> None:
    command = [sys.executable, on_gpu.__file__, "--output", str(tmp_path), "--device", "cpu"]
    subprocess.run([*command, "--tiny", "true", "--total_s", "2900"], check=True)
    found = {letter: json.loads((tmp_path / f"{letter}.json").read_text()) for letter in STAGES}
    assert {letter: content["status"] for letter, content in found.items()} == dict.fromkeys(
        STAGES, "done"
    )
    assert all(content["rows"] for content in found.values())
    # The same adapters by one process and by two, and on one device and the same.
    assert found["g"]["difference_of_change"] < 1e-4
    assert all(row["difference_of_change"] == 0 for row in found["e"]["rows"])
    reached = json.loads((tmp_path / "goals.json").read_text())["rows"]
    assert {row["name"] for row in reached if row["measured"] is None} == {"8B in NF4, GiB"}
