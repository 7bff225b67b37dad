"""What adapters are trained on, less of it, and other augmentations: options of ``prag fit``."""

from pathlib import Path
from typing import Protocol

import pytest
import torch
from torch import Tensor

from prag_lightning.adapters.store.opening import open_store
from prag_lightning.cli.main import main
from prag_lightning.demo.world import write_world
from prag_lightning.documents.records import Augmentation, read_records, write_records


class Fit(Protocol):
    """Encodes into the run of this name, and returns the exit status."""

    def __call__(self, name: str, *options: str) -> int: ...


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people, with four question-answer pairs each."""
    folder = tmp_path_factory.mktemp("world")
    write_world(folder, num_people=2)
    file = folder / "augmentations.jsonl"
    written = list(read_records(file, Augmentation))
    write_records(file, [one.model_copy(update={"qas": one.qas[:4]}) for one in written])
    return folder


@pytest.fixture
def fit(base_dir: Path, world: Path, tmp_path: Path) -> Fit:
    def run(name: str, *options: str) -> int:
        words = [
            *("--trainer.accelerator", "cpu", "--trainer.default_root_dir", str(tmp_path / name)),
            *("--model.base", str(base_dir), "--model.num_slots", "2", "--model.lr", "0.003"),
            *("--data.folder", str(world)),
        ]
        return main(["fit", *words, *options])

    return run


def adapters(root: Path) -> Tensor:
    with open_store(root / "adapters", mode="read") as store:
        return store.get_many(sorted(store.ids()))


ABLATIONS = {
    "everything": [],
    "no rewrites": ["--data.num_rewrites", "0"],
    "fewer pairs": ["--data.num_qas", "3"],
    "no pairs": ["--data.num_qas", "0"],
    "nothing": ["--data.num_rewrites", "0", "--data.num_qas", "0"],
}


def test_every_ablation_makes_other_adapters(fit: Fit, tmp_path: Path) -> None:
    found = []
    for name, options in ABLATIONS.items():
        assert fit(name, *options) == 0
        found.append(adapters(tmp_path / name))
    for i, rows in enumerate(found):
        assert all((rows - other).abs().max() > 1e-4 for other in found[:i])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data.num_rewrites", "0"], "training.num_rewrites: the store has 'nothing', this run"),
        (["--data.num_qas", "0"], "training.num_qas: the store has 'nothing', this run asks for 0"),
    ],
)
def test_a_store_remembers_what_was_left_out(
    fit: Fit, options: list[str], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert fit("run") == 0
    assert fit("run", *options) == 2
    assert message in capfd.readouterr().err


def test_other_augmentations_are_other_adapters_which_take_the_place_of_the_former(
    fit: Fit, world: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    written = list(read_records(world / "augmentations.jsonl", Augmentation))
    others = [one.model_copy(update={"rewrites": ["Nothing is known."]}) for one in written]
    write_records(tmp_path / "others.jsonl", others)
    options = ["--data.augmentations", str(tmp_path / "others.jsonl")]
    assert fit("one") == 0
    assert fit("two", *options) == 0
    assert (adapters(tmp_path / "one") - adapters(tmp_path / "two")).abs().max() > 1e-4
    # Under another name they are the same still.
    write_records(tmp_path / "copy.jsonl", written)
    assert fit("one", "--data.augmentations", str(tmp_path / "copy.jsonl")) == 0
    assert "2 documents, 2 of them encoded before" in capfd.readouterr().out
    assert fit("one", *options) == 0
    assert "2 of them have changed, and are encoded anew" in capfd.readouterr().out
    replaced = adapters(tmp_path / "one") - adapters(tmp_path / "two")
    assert replaced.abs().max() < 1e-5


def test_asking_for_more_than_there_is_takes_all_and_says_so(
    fit: Fit, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert fit("one") == 0
    assert "fewer" not in capfd.readouterr().out
    assert fit("two", "--data.num_rewrites", "5", "--data.num_qas", "4") == 0
    said = capfd.readouterr().out
    assert said.count("2 of them have fewer rewrites than asked for; all are taken") == 1
    assert said.count("fewer") == 1
    assert torch.equal(adapters(tmp_path / "one"), adapters(tmp_path / "two"))
