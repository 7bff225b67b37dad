"""What ``prag fit`` leaves of an encoding beside its adapters, and gives to loggers."""

import csv
import importlib.util
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from prag_lightning.callbacks import AdapterWriter
from prag_lightning.callbacks.encoding_log import _rounded
from prag_lightning.cli.main import main
from prag_lightning.demo.world import write_world
from prag_lightning.documents.records import Augmentation, Document, read_records
from prag_lightning.encoding.plan import document_prompts
from prag_lightning.encoding.records import (
    LOSSES_FILE,
    SUMMARY_FILE,
    DocumentLosses,
    FitSummary,
    append_records,
)
from prag_lightning.language_model.prompts import PromptEncoder

LOGGERS = "lightning.pytorch.loggers"
NUM_SLOTS = 3


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world of six people."""
    folder = tmp_path_factory.mktemp("world")
    write_world(folder, num_people=6)
    return folder


def fit(base_dir: Path, world: Path, root: Path, *more: str) -> int:
    return main(
        [
            *("fit", "--trainer.accelerator", "cpu", "--trainer.default_root_dir", str(root)),
            *("--model.base", str(base_dir), "--model.num_slots", str(NUM_SLOTS)),
            *("--model.lr", "0.003", "--data.folder", str(world), "--data.num_qas", "4"),
            *("--trainer.enable_progress_bar", "false", *more),
        ]
    )


def losses_of(root: Path) -> dict[str, list[float | None]]:
    records = list(read_records(root / LOSSES_FILE, DocumentLosses))
    by_id = {record.document_id: record.losses for record in records}
    assert len(by_id) == len(records)
    return by_id


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, base_dir: Path, world: Path) -> Path:
    """Root folder of a run with three slots, passed on every 4 steps to a CSV logger."""
    root = tmp_path_factory.mktemp("run")
    csv_logger = ("--trainer.logger", f"{LOGGERS}.CSVLogger", "--trainer.logger.save_dir")
    every = ("--trainer.log_every_n_steps", "4")
    assert fit(base_dir, world, root, *csv_logger, str(root), *every) == 0
    return root


def test_every_document_has_a_loss_for_each_of_its_steps_and_they_fall(
    run: Path, world: Path
) -> None:
    losses = losses_of(run)
    ids = {document.id for document in read_records(world / "documents.jsonl", Document)}
    assert losses.keys() == ids
    counts = {name: len(values) for name, values in losses.items()}
    (summary,) = read_records(run / SUMMARY_FILE, FitSummary)
    assert sum(counts.values()) <= NUM_SLOTS * summary.num_steps < sum(counts.values()) + 20
    for values in losses.values():
        assert None not in values
        assert sum(v or 0 for v in values[-3:]) < sum(v or 0 for v in values[:3])


def test_the_first_loss_is_that_of_the_base_model(run: Path, base_dir: Path, world: Path) -> None:
    base = AutoModelForCausalLM.from_pretrained(base_dir)
    encoder = PromptEncoder(AutoTokenizer.from_pretrained(base_dir))
    augmentations = {
        a.document_id: a for a in read_records(world / "augmentations.jsonl", Augmentation)
    }
    for document in read_records(world / "documents.jsonl", Document):
        prompt = document_prompts(document, augmentations[document.id])[0]
        ids, *_ = encoder.encode_training(prompt.question, prompt.passages, prompt.answer, 3000)
        tokens = torch.tensor([ids])
        with torch.no_grad():
            expected = base(input_ids=tokens, labels=tokens).loss.item()
        assert losses_of(run)[document.id][0] == pytest.approx(expected, rel=1e-4)


def test_a_document_s_losses_are_those_that_it_has_when_it_is_encoded_alone(
    run: Path, base_dir: Path, world: Path, tmp_path: Path
) -> None:
    assert fit(base_dir, world, tmp_path, "--model.num_slots", "1") == 0
    together, alone = losses_of(run), losses_of(tmp_path)
    assert together.keys() == alone.keys()
    for name, values in alone.items():
        assert together[name] == pytest.approx(values, rel=1e-3)
    assert len({tuple(values) for values in alone.values()}) == len(alone)


def test_the_summary_says_what_the_run_took(run: Path) -> None:
    (summary,) = read_records(run / SUMMARY_FILE, FitSummary)
    assert summary.complete
    assert (summary.num_documents, summary.num_slots, summary.num_processes) == (6, NUM_SLOTS, 1)
    assert summary.documents_per_second == pytest.approx(6 / summary.seconds, rel=1e-2)
    assert summary.num_tokens > 1000
    assert summary.padding == 0
    assert summary.device.startswith("cpu")
    # A process that has loaded torch.
    assert 100e6 < summary.peak_memory < 100e9


def test_a_run_that_goes_on_adds_to_what_was_there(
    run: Path, base_dir: Path, world: Path, tmp_path: Path
) -> None:
    few = ("--trainer.limit_train_batches", str(min(map(len, losses_of(run).values()))))
    fit(base_dir, world, tmp_path, *few)
    first = losses_of(tmp_path)
    assert 0 < len(first) < 6
    # What a killed run tears is cut off.
    with (tmp_path / LOSSES_FILE).open("a") as file:
        file.write('{"document_id": "half of a li')
    assert fit(base_dir, world, tmp_path) == 0
    assert fit(base_dir, world, tmp_path) == 0
    summaries = list(read_records(tmp_path / SUMMARY_FILE, FitSummary))
    # The third run had nothing to do.
    assert [summary.num_documents for summary in summaries] == [len(first), 6 - len(first)]
    assert losses_of(tmp_path).items() >= first.items()
    assert len(losses_of(tmp_path)) == 6


def test_a_run_that_ends_early_says_so(
    base_dir: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = AdapterWriter._save
    calls = []

    def fail_at_the_second(*args: Any) -> None:
        calls.append(args)
        if len(calls) > 1:
            raise ValueError("no more")
        save(*args)

    monkeypatch.setattr(AdapterWriter, "_save", fail_at_the_second)
    assert fit(base_dir, world, tmp_path) == 2
    (summary,) = read_records(tmp_path / SUMMARY_FILE, FitSummary)
    assert not summary.complete
    assert summary.num_documents == len(losses_of(tmp_path)) >= 1


def test_a_csv_logger_gets_the_metrics_every_so_many_steps(run: Path) -> None:
    (file,) = run.rglob("metrics.csv")
    rows = list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))
    (summary,) = read_records(run / SUMMARY_FILE, FitSummary)
    steps = [int(row["step"]) for row in rows]
    # Lightning counts from 0.
    assert steps == sorted({*range(3, summary.num_steps, 4), summary.num_steps - 1})
    assert float(rows[-1]["documents"]) == 6
    losses = losses_of(run)
    first = [float(row["loss_first"]) for row in rows if row["loss_first"]]
    last = [float(row["loss_last"]) for row in rows if row["loss_last"]]
    assert sum(last) < sum(first)
    # As many documents as there are slots begin together and are in the first 4 steps' mean.
    begin = [sum(v or 0 for v in values[:4]) / 4 for values in losses.values()]
    assert min(begin) < float(rows[0]["loss"]) < max(begin)
    assert float(rows[-1]["memory_mib"]) > 100
    assert float(rows[-1]["tokens_per_second"]) > 0


def test_a_logger_gets_the_settings_of_the_run(run: Path) -> None:
    (file,) = run.rglob("hparams.yaml")
    settings = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert settings == yaml.safe_load((run / "fit.yaml").read_text(encoding="utf-8"))
    assert (settings["model"]["lr"], settings["data"]["num_qas"]) == (0.003, 4)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_tensorboard_logger_gets_the_metrics_padding_among_them(
    base_dir: Path, world: Path, tmp_path: Path
) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    logger = ("--trainer.logger", f"{LOGGERS}.TensorBoardLogger", "--trainer.logger.save_dir")
    more = ("--trainer.log_every_n_steps", "10", "--data.packed", "false")
    assert fit(base_dir, world, tmp_path, *logger, str(tmp_path), *more) == 0
    (file,) = tmp_path.rglob("events.*")
    board = events.EventAccumulator(str(file))
    board.Reload()
    assert {"loss", "loss_last", "documents_per_second", "padding"} <= set(board.Tags()["scalars"])
    assert board.Scalars("documents")[-1].value == 6
    (summary,) = read_records(tmp_path / SUMMARY_FILE, FitSummary)
    paddings = [scalar.value for scalar in board.Scalars("padding")]
    assert 0 < min(paddings) < summary.padding < max(paddings) < 0.1


def test_weights_and_biases_offline_is_a_valid_setting(capfd: pytest.CaptureFixture[str]) -> None:
    logger = ["--trainer.logger", f"{LOGGERS}.WandbLogger", "--trainer.logger.offline", "true"]
    assert main(["fit", *logger, "--print_config"]) == 0
    assert "offline: true" in capfd.readouterr().out


@pytest.mark.skipif(importlib.util.find_spec("wandb") is not None, reason="wandb is installed")
def test_a_logger_that_is_not_installed_is_named_in_one_line(
    base_dir: Path, world: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert fit(base_dir, world, tmp_path, "--trainer.logger", f"{LOGGERS}.WandbLogger") == 2
    error = capfd.readouterr().err.strip()
    assert "wandb" in error
    assert len(error.splitlines()) == 1


def test_a_loss_that_is_not_finite_is_written_as_null(tmp_path: Path) -> None:
    values = [_rounded(value) for value in (1.23456789, math.nan, math.inf)]
    append_records(tmp_path / "l.jsonl", [DocumentLosses(document_id="é", losses=values)])
    line = (tmp_path / "l.jsonl").read_text(encoding="utf-8")
    assert json.loads(line) == {"document_id": "é", "losses": [1.2346, None, None]}
