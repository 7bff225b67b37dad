"""Questions answered on a real local Ray cluster of two workers, one of which is killed."""

import json
from pathlib import Path
from typing import Any

import pytest

from prag_lightning.callbacks import MergedEvaluation, WarmStart
from prag_lightning.cli.main import main
from prag_lightning.clusters.ray_answers import answer_with_ray
from prag_lightning.clusters.workers import RayWorkers
from prag_lightning.datamodule import DocumentDataModule
from prag_lightning.demo.world import write_world
from prag_lightning.module import ParametricRAG
from tests.clusters.ray_faults import DiesOnce

pytest.importorskip("ray", reason="needs ray (pip install 'prag-lightning[ray]')")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    write_world(folder, num_people=8)
    return folder


def options(world: Path, base_dir: Path, root: Path) -> list[str]:
    return [
        *("--trainer.accelerator", "cpu", "--trainer.default_root_dir", str(root)),
        *("--model.base", str(base_dir), "--data.folder", str(world), "--model.num_slots", "4"),
        *("--model.lr", "0.003", "--model.max_new_tokens", "4", "--data.max_tokens", "200"),
        *("--data.question_batch_size", "4"),
    ]


@pytest.fixture(scope="module")
def local(world: Path, base_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A local run, whose store the runs on Ray read, too."""
    root = tmp_path_factory.mktemp("local")
    assert main(["fit", *options(world, base_dir, root)]) == 0
    assert main(["test", *options(world, base_dir, root)]) == 0
    assert main(["predict", *options(world, base_dir, root)]) == 0
    return root


def rows(file: Path) -> list[dict[str, Any]]:
    """Return the lines of a file without what took how long."""
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def scores(root: Path) -> list[dict[str, Any]]:
    found = json.loads((root / "scores.json").read_text())
    assert all(row.pop("questions_per_second") > 0 for row in found)
    means = ("em", "f1", "precision", "recall", "answer_nll")
    return [row | {k: pytest.approx(row[k]) for k in means if k in row} for row in found]


def test_a_test_of_which_a_worker_is_killed_has_every_answer_once_as_a_local_run_has(
    cluster: None, world: Path, base_dir: Path, local: Path, tmp_path: Path
) -> None:
    answers = answer_with_ray(
        ParametricRAG(
            str(base_dir), num_slots=4, lr=3e-3, max_new_tokens=4, store=str(local / "adapters")
        ),
        DocumentDataModule(world, base=str(base_dir), max_tokens=200, question_batch_size=4),
        RayWorkers(num_workers=2),
        root_dir=tmp_path,
        callbacks=[WarmStart(), MergedEvaluation(), DiesOnce(tmp_path / "killed")],
    )
    assert (tmp_path / "killed").exists()
    asked = [(answer.method, answer.question_id) for answer in answers]
    assert len(asked) == len(set(asked)) > 50
    # The batches are those of the local run, and so is every bit.
    assert rows(tmp_path / "predictions.jsonl") == rows(local / "predictions.jsonl")
    assert scores(tmp_path) == scores(local)


def test_the_commands_write_what_a_local_run_writes_and_print_one_table(
    cluster: None,
    world: Path,
    base_dir: Path,
    local: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    words = [*options(world, base_dir, tmp_path), "--model.store", str(local / "adapters")]
    assert main(["test", "--engine", "ray", *words]) == 0
    said = capfd.readouterr()
    assert said.out.count("EM") == 1
    assert f"predictions and scores are in {tmp_path}" in said.out.replace("\n", "")
    assert "answering: 100%" in said.err
    assert main(["predict", "--engine", "ray", *words]) == 0
    for name in ("predictions.jsonl", "answers.jsonl"):
        assert rows(tmp_path / name) == rows(local / name)
    assert "engine: ray" in (tmp_path / "test.yaml").read_text()
    assert "engine: ray" in (tmp_path / "predict.yaml").read_text()
    # Another warm start is no recipe of these adapters: one line, as locally.
    assert main(["test", "--engine", "ray", *words, "--warm_start.seed", "5"]) == 2
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("prag: ")]
    assert "adapters of another recipe: warm_start" in line
