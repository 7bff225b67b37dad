"""The controls with a task adapter and with strangers' adapters, by way of ``prag test``."""

from pathlib import Path

import pytest

from prag_lightning.cli.main import main
from prag_lightning.demo.world import write_world
from prag_lightning.documents.records import read_records
from prag_lightning.evaluation.scores import Prediction

METHODS = [
    *("closed_book", "task", "own", "rag", "rag_task", "combine", "combine_late", "rag_other")
]


def run_trainer(command: str, base_dir: Path, root: Path, *more: str) -> int:
    world = root.parent / "world"
    words = [
        *(command, "--trainer.accelerator", "cpu", "--trainer.default_root_dir", str(root)),
        *("--model.base", str(base_dir), "--model.num_slots", "4", "--data.folder", str(world)),
        *("--model.max_new_tokens", "4", "--data.max_tokens", "200"),
    ]
    return main([*words, *more])


@pytest.fixture(scope="module")
def cold(tmp_path_factory: pytest.TempPathFactory, base_dir: Path) -> Path:
    """A run from an untrained start."""
    root = tmp_path_factory.mktemp("runs") / "cold"
    write_world(root.parent / "world", num_people=4)
    options = ["--adapter_writer.layout", "peft", "--model.lr", "0.003"]
    assert run_trainer("fit", base_dir, root, *options) == 0
    return root


def test_controls_have_their_adapters_in_the_weights(cold: Path, base_dir: Path) -> None:
    start = next((cold / "adapters").rglob("adapter_model.safetensors")).parent
    root = cold.parent / "warm"
    # So small a rate that documents' adapters stay where they started.
    warm = ["--warm_start.path", str(start), "--model.lr", "1e-9"]
    assert run_trainer("fit", base_dir, root, *warm) == 0
    options = ["--evaluation.merge", "mean", "--data.methods", f"[{','.join(METHODS)}]"]
    assert run_trainer("test", base_dir, root, *warm, *options) == 0
    predictions = list(read_records(root / "predictions.jsonl", Prediction))
    said = {m: {p.question_id: p.text for p in predictions if p.method == m} for m in METHODS}
    assert said["task"] == said["own"] != said["closed_book"]
    assert said["rag_task"] == said["combine"] == said["rag_other"] != said["rag"]
    assert said["combine_late"] not in (said["combine"], said["rag"])
    evidence = {
        name: {p.question_id: (p.passages, p.adapters) for p in predictions if p.method == name}
        for name in METHODS
    }
    for question, (passages, adapters) in evidence["combine"].items():
        strangers = evidence["rag_other"][question]
        assert strangers[0] == passages
        ours, theirs = ({e.document_id for e in found} for found in (adapters, strangers[1]))
        assert ours.isdisjoint(theirs)
        assert evidence["combine_late"][question] == (passages, adapters)
        assert evidence["rag_task"][question] == (passages, [])
        assert evidence["task"][question] == ([], [])


def test_a_test_says_how_often_the_gate_left_adapters_out(
    cold: Path, base_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rule = "{gate: {rule: mean, least_without: .inf}}"
    options = ["--model.lr", "0.003", "--data.methods", "[closed_book,prag]", "--data.limit", "2"]
    assert run_trainer("test", base_dir, cold, *options, "--evaluation.merge", rule) == 0
    printed = capsys.readouterr().out
    predictions = list(read_records(cold / "predictions.jsonl", Prediction))
    said = {m: [p.text for p in predictions if p.method == m] for m in ("closed_book", "prag")}
    assert said["prag"] == said["closed_book"]
    num_asked = len(said["prag"])
    assert f"prag: the gate left adapters out of {num_asked} of {num_asked}\n" in printed
    assert "closed_book: the gate" not in printed


@pytest.mark.parametrize("method", ["task", "rag_task"])
def test_an_untrained_start_is_no_task_adapter(
    cold: Path, base_dir: Path, method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--model.lr", "0.003", "--data.methods", f"[{method}]"]
    assert run_trainer("test", base_dir, cold, *options) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"the method '{method}' answers with the warm start in the weights" in error
    assert "train one with --data.warm_up" in error
