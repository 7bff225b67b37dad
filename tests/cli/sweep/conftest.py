"""A tiny world, settings for sweeps over it, and running their commands here."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from prag_lightning.cli.main import main
from prag_lightning.demo.world import write_world
from prag_lightning.documents.records import Augmentation, read_records, write_records


class CommandsHere:
    """Runs commands in this process, and remembers them by their run and name."""

    def __init__(self) -> None:
        self.done: list[tuple[str, str]] = []

    def __call__(self, words: Sequence[str], log_file: Path) -> int:
        self.done.append((log_file.parent.name, words[0]))
        redirect_stdout, redirect_stderr = contextlib.redirect_stdout, contextlib.redirect_stderr
        with log_file.open("a") as log, redirect_stdout(log), redirect_stderr(log):
            return main(words)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four people, with three question-answer pairs each."""
    folder = tmp_path_factory.mktemp("world")
    write_world(folder, num_people=4)
    file = folder / "augmentations.jsonl"
    written = list(read_records(file, Augmentation))
    write_records(file, [one.model_copy(update={"qas": one.qas[:3]}) for one in written])
    return folder


def options(base_dir: Path, world: Path, root: Path) -> list[str]:
    return [
        *("--trainer.accelerator", "cpu", "--trainer.default_root_dir", str(root)),
        *("--model.base", str(base_dir), "--model.num_slots", "2", "--model.lr", "0.003"),
        *("--model.max_new_tokens", "2", "--data.folder", str(world)),
        *("--data.methods", "[own,prag]", "--data.limit", "6"),
    ]
