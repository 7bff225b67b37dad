"""A run of six people, encoded with a random base, and a service on it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from prag_lightning.cli.main import main
from prag_lightning.demo.world import write_world
from prag_lightning.documents.records import Question, read_records
from tests.serving.running import Running, running


def fit(base_dir: Path, folder: Path, root: Path) -> None:
    write_world(folder, num_people=6)
    words = [
        *("fit", "--trainer.accelerator", "cpu", "--trainer.default_root_dir", str(root)),
        *("--model.base", str(base_dir), "--model.num_slots", "6", "--model.lr", "0.003"),
        *("--model.max_new_tokens", "6", "--data.folder", str(folder), "--data.num_qas", "2"),
    ]
    assert main(words) == 0


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, base_dir: Path) -> Path:
    """A run whose six documents are encoded."""
    root = tmp_path_factory.mktemp("served")
    fit(base_dir, root / "world", root / "run")
    return root / "run"


@pytest.fixture(scope="session")
def questions(run: Path) -> list[str]:
    records = read_records(run.parent / "world" / "questions.jsonl", Question)
    return [record.question for record in records]


@pytest.fixture(scope="module")
def served(run: Path) -> Iterator[Running]:
    """A service on the run, without a token."""
    with running(run) as service:
        yield service
