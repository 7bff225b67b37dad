"""A real local Ray cluster of two workers, some of which are killed."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import lightning as L
import pytest

from prag_lightning.adapters.store.lock import living_writers
from prag_lightning.adapters.store.opening import open_store, verify_store
from prag_lightning.callbacks import AdapterWriter, WarmStart
from prag_lightning.cli.main import main
from prag_lightning.clusters.ray import encode_with_ray
from prag_lightning.clusters.workers import RayWorkers
from prag_lightning.datamodule import DocumentDataModule
from prag_lightning.demo.world import write_world
from prag_lightning.documents.records import Document, read_records, write_records
from prag_lightning.encoding.outcome import Outcome
from prag_lightning.encoding.records import LOSSES_FILE, DocumentLosses
from prag_lightning.module import ParametricRAG
from tests.faults.runs import assert_same, stored

pytest.importorskip("ray", reason="needs ray (pip install 'prag-lightning[ray]')")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

NUM_PEOPLE = 10


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    write_world(folder, num_people=NUM_PEOPLE)
    return folder


@pytest.fixture(scope="module")
def undisturbed(world: Path, base_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of a local run."""
    root = tmp_path_factory.mktemp("local")
    assert main(["fit", *options(world, base_dir, root)]) == 0
    return root / "adapters"


def options(world: Path, base_dir: Path, root: Path) -> list[str]:
    return [
        *("--trainer.accelerator", "cpu", "--trainer.default_root_dir", str(root)),
        *("--model.base", str(base_dir), "--data.folder", str(world), "--model.num_slots", "1"),
        *("--model.lr", "0.003", "--data.passes", "2"),
    ]


def encode(world: Path, base_dir: Path, root: Path, *callbacks: L.Callback) -> Outcome:
    return encode_with_ray(
        ParametricRAG(str(base_dir), num_slots=1, lr=3e-3),
        DocumentDataModule(world, base=str(base_dir), passes=2, num_slots=1),
        RayWorkers(num_workers=2),
        root_dir=root,
        callbacks=[WarmStart(), AdapterWriter(), *callbacks],
    )


def kill_a_writer(store_dir: Path, num_stored: int, killed: list[int]) -> None:
    """Kill a process that writes to a store, once this many documents are there and two write."""
    while not (store_dir / "manifest.json").exists():
        time.sleep(0.01)
    while True:
        writers = [holder for _, holder in living_writers(store_dir)]
        with open_store(store_dir, mode="read") as store:
            if len(store) >= num_stored and len(writers) == 2:
                break
        time.sleep(0.01)
    os.kill(int(writers[0].pid), signal.SIGKILL)
    killed.append(int(writers[0].pid))


class Slow(L.Callback):
    """Lets a test come between two steps."""

    def on_train_batch_start(self, *_: Any) -> None:
        time.sleep(0.02)


class Fatal(L.Callback):
    """Lets one document kill its process, and another raise an error."""

    def __init__(self, kills: str, fails: str) -> None:
        self.kills, self.fails = kills, fails

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self.kills in batch.documents.values():
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fails in batch.documents.values():
            raise RuntimeError("this document\nfails")


def test_a_run_of_which_a_worker_is_killed_has_every_document_once_as_a_local_run_has(
    cluster: None, world: Path, base_dir: Path, tmp_path: Path, undisturbed: Path
) -> None:
    store_dir, killed = tmp_path / "adapters", list[int]()
    killer = threading.Thread(target=kill_a_writer, args=(store_dir, 3, killed), daemon=True)
    killer.start()
    outcome = encode(world, base_dir, tmp_path, Slow())
    killer.join(1)
    assert killed
    assert outcome.num_stored == outcome.num_documents == NUM_PEOPLE
    assert (outcome.failures, list(outcome.elsewhere)) == ({}, [])
    # One document at a time, so that blocks do not matter: equal to the bit.
    assert_same(stored(store_dir), stored(undisturbed), 0.0)
    with open_store(store_dir, mode="read") as store:
        ids = list(store.ids())
        assert len(ids) == len(set(ids)) == NUM_PEOPLE
        assert len({receipt.file for receipt in store.receipts(ids)}) >= 2
    assert not [damage for damage in verify_store(store_dir) if not damage.harmless]


def test_documents_that_fail_or_kill_are_named_and_all_others_are_encoded(
    cluster: None, world: Path, base_dir: Path, tmp_path: Path, undisturbed: Path
) -> None:
    expected = stored(undisturbed)
    kills, fails, *others = expected
    outcome = encode(world, base_dir, tmp_path, Fatal(kills, fails))
    assert outcome.failures == {
        kills: "each worker that encoded it died; it may take too much memory",
        fails: "RuntimeError: this document fails",
    }
    found = stored(tmp_path / "adapters")
    assert_same(found, {document_id: expected[document_id] for document_id in others}, 0.0)


def test_the_command_encodes_what_is_missing_and_refuses_another_recipe(
    cluster: None,
    world: Path,
    base_dir: Path,
    tmp_path: Path,
    undisturbed: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    command = ["fit", "--engine", "ray", *options(world, base_dir, tmp_path)]
    few = tmp_path / "few"
    few.mkdir()
    documents = list(read_records(world / "documents.jsonl", Document))
    write_records(few / "documents.jsonl", documents[:2])
    shutil.copy(world / "augmentations.jsonl", few)
    assert main([*command, "--data.folder", str(few)]) == 0
    assert main(command) == 0
    said = capfd.readouterr()
    assert f"{NUM_PEOPLE} documents, 2 of them encoded before" in said.out
    assert f"{NUM_PEOPLE} of {NUM_PEOPLE} documents are in {tmp_path / 'adapters'}" in said.out
    assert f"encoding: 100%, {NUM_PEOPLE - 2} of {NUM_PEOPLE - 2} documents" in said.err
    assert "raylet" not in said.out + said.err
    assert_same(stored(tmp_path / "adapters"), stored(undisturbed), 0.0)
    trained = [line.document_id for line in read_records(tmp_path / LOSSES_FILE, DocumentLosses)]
    assert len(trained) == len(set(trained)) == NUM_PEOPLE
    assert "engine: ray" in (tmp_path / "fit.yaml").read_text()
    # Though nothing is left to encode.
    assert main([*command, "--model.lr", "0.1"]) == 2
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("prag: ")]
    assert "lr" in line


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_run_with_its_own_cluster_and_keeps_what_was_encoded(
    world: Path, base_dir: Path, tmp_path: Path, number: int, status: int
) -> None:
    words = [*options(world, base_dir, tmp_path), "--data.passes", "20"]
    run = subprocess.Popen(
        [sys.executable, "-m", "prag_lightning", "fit", "--engine", "ray", *words],
        start_new_session=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    store_dir = tmp_path / "adapters"
    while not list(store_dir.glob("writer-*/*.jsonl")) or not stored(store_dir):
        assert run.poll() is None
        time.sleep(0.1)
    if number == signal.SIGINT:
        # As a terminal does, to every process.
        os.killpg(run.pid, number)
    else:
        run.send_signal(number)
    said, _ = run.communicate(timeout=300)
    assert run.returncode == status
    assert 0 < len(stored(store_dir)) < NUM_PEOPLE
    assert f"{len(stored(store_dir))} of {NUM_PEOPLE} documents are in {store_dir}" in said
