"""Augmenting on a real local Ray cluster of two workers, some of which are killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from prag_lightning.augmentation.outcome_files import dropped_file, failures_file
from prag_lightning.augmentation.outcomes import Failure
from prag_lightning.augmentation.runner import run_augmentation
from prag_lightning.augmentation.settings import Order, Sampling
from prag_lightning.augmentation.transformers_augmenter import TransformersAugmenter
from prag_lightning.clusters.ray_augmenter import RayAugmenter
from prag_lightning.documents.records import Augmentation, Document, read_records, write_records
from tests.clusters.ray_faults import DyingModel, FatalAugmenter
from tests.conftest import tiny_base, tiny_tokenizer

pytest.importorskip("ray", reason="needs ray (pip install 'prag-lightning[ray]')")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

DOCUMENTS = [
    Document(
        id=f"d{n}", title=f"Ship {n}", text=f"Ship {n} was built in {1900 + n}. " * (1 + n % 5)
    )
    for n in range(12)
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a small random model that has room for long prompts."""
    folder = tmp_path_factory.mktemp("model")
    base = tiny_base()
    base.config.max_position_embeddings = 4096
    base.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return str(folder)


def lines(output: Path) -> list[list[str]]:
    """Return the lines of the files of a run, in any order."""
    files = (output, failures_file(output), dropped_file(output))
    return [sorted(f.read_text().splitlines()) if f.exists() else [] for f in files]


def test_a_run_of_which_a_worker_is_killed_has_every_augmentation_once_as_a_local_run_has(
    cluster: None, model: str, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {
        "order": Order(num_rewrites=2, num_qas=1, max_attempts=2, grounded=False),
        "sampling": Sampling(max_new_tokens=12),
        "batch_size": 2,
    }
    local, output = tmp_path / "local.jsonl", tmp_path / "ray.jsonl"
    expected = run_augmentation(DOCUMENTS, TransformersAugmenter(model, **settings), local)
    augmenter = RayAugmenter(DyingModel(model, output, **settings))
    summary = run_augmentation(DOCUMENTS, augmenter, output)
    assert (tmp_path / "killed").exists()
    # A random model's rewrites are taken, and its pairs are not.
    assert expected.num_in_part + expected.num_failed == len(DOCUMENTS)
    assert len(lines(local)[0]) >= 4
    assert lines(output) == lines(local)
    assert (summary.usage, summary.num_augmented) == (expected.usage, expected.num_augmented)
    ids = [made.document_id for made in read_records(output, Augmentation)]
    assert len(ids) == len(set(ids))
    assert run_augmentation(DOCUMENTS, augmenter, output).num_todo == 0


def test_documents_that_fail_or_kill_are_named_and_all_others_are_augmented(
    cluster: None, tmp_path: Path
) -> None:
    output = tmp_path / "a.jsonl"
    summary = run_augmentation(DOCUMENTS, RayAugmenter(FatalAugmenter("d3", "d10")), output)
    assert (summary.num_failed, summary.num_augmented) == (2, 10)
    failures = {f.document_id: f.reason for f in read_records(failures_file(output), Failure)}
    assert failures == {
        "d3": "each worker that augmented it died; it may take too much memory",
        "d10": "RuntimeError: this document fails",
    }
    made = {one.document_id: one.rewrites for one in read_records(output, Augmentation)}
    assert made == {d.id: [d.text.upper()] for d in DOCUMENTS if d.id not in failures}


def test_sigterm_and_ctrl_c_end_a_run_with_its_own_cluster_and_keep_what_was_augmented(
    tmp_path: Path,
) -> None:
    write_records(tmp_path / "documents.jsonl", DOCUMENTS)
    output = tmp_path / "augmentations.jsonl"
    command = [
        *(sys.executable, "-m", "prag_lightning", "augment", "class", str(tmp_path)),
        *("tests.clusters.ray_faults.FatalAugmenter", "--engine", "ray"),
    ]

    def num_done() -> int:
        return len(output.read_text().splitlines()) if output.exists() else 0

    for number, status in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        before = num_done()
        words = ["--init_args.seconds", "0.7"]
        run = subprocess.Popen([*command, *words], start_new_session=True)
        while num_done() == before:
            assert run.poll() is None
            time.sleep(0.05)
        if number == signal.SIGINT:
            # As a terminal does, to every process.
            os.killpg(run.pid, number)
        else:
            run.send_signal(number)
        assert run.wait(300) == status
        assert before < num_done() < len(DOCUMENTS)
    assert subprocess.run(command, check=False).returncode == 0
    ids = [made.document_id for made in read_records(output, Augmentation)]
    assert sorted(ids) == sorted(document.id for document in DOCUMENTS)
