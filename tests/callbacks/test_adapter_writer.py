"""What becomes of adapters that cannot be saved, under ``prag fit``."""

import errno
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from prag_lightning.adapters.optimizer import StackedAdamW
from prag_lightning.adapters.store.opening import open_store
from prag_lightning.adapters.store.packed import PackedStore
from prag_lightning.cli.exit_status import DONE, SOME_FAILED, TRY_AGAIN
from prag_lightning.cli.main import main
from prag_lightning.demo.world import write_world
from prag_lightning.documents.records import Document, read_records
from prag_lightning.encoding.batches import EncodingBatch
from prag_lightning.encoding.slot_trainer import SlotTrainer


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    write_world(folder, num_people=6)
    return folder


def fit(base_dir: Path, world: Path, root: Path) -> int:
    return main(
        [
            *("fit", "--trainer.accelerator", "cpu", "--trainer.default_root_dir", str(root)),
            *("--model.base", str(base_dir), "--model.num_slots", "2", "--model.lr", "0.003"),
            *("--data.folder", str(world)),
        ]
    )


def stored(root: Path) -> dict[str, Tensor]:
    with open_store(str(root / "adapters"), mode="read") as store:
        ids = sorted(store.ids())
        return dict(zip(ids, store.get_many(ids), strict=True))


@pytest.mark.parametrize("code", [errno.ENOSPC, pytest.param(errno.EIO, marks=pytest.mark.slow)])
def test_an_error_of_the_writer_stops_the_run_with_its_cause_and_the_next_run_does_the_rest(
    base_dir: Path,
    world: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    code: int,
) -> None:
    put_many, num_calls = PackedStore.put_many, 0

    def fail_the_second_time(
        self: PackedStore, ids: Sequence[str], rows: Tensor, digests: Sequence[str]
    ) -> None:
        nonlocal num_calls
        num_calls += 1
        if num_calls == 2:
            raise OSError(code, "this disk takes no more")
        put_many(self, ids, rows, digests)

    with monkeypatch.context() as patch:
        patch.setattr(PackedStore, "put_many", fail_the_second_time)
        assert fit(base_dir, world, tmp_path) == TRY_AGAIN
    assert "takes no more" in capfd.readouterr().err.splitlines()[-1]
    num_saved = len(stored(tmp_path))
    assert 1 <= num_saved < 6
    assert fit(base_dir, world, tmp_path) == DONE
    assert f"6 documents, {num_saved} of them encoded before" in capfd.readouterr().out
    assert len(stored(tmp_path)) == 6


def test_a_document_that_is_not_finite_is_named_and_the_others_are_saved_as_if_it_were_not_there(
    base_dir: Path,
    world: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    name = next(read_records(world / "documents.jsonl", Document)).id
    assert fit(base_dir, world, tmp_path / "whole") == DONE
    step = SlotTrainer.step

    def step_with_an_infinite_weight(
        self: SlotTrainer, batch: EncodingBatch, optimizer: StackedAdamW
    ) -> Tensor:
        for slot, document_id in batch.documents.items():
            if document_id == name and slot not in batch.begins:
                self.bank.weight.data[slot, 0] = float("inf")
        return step(self, batch, optimizer)

    monkeypatch.setattr(SlotTrainer, "step", step_with_an_infinite_weight)
    capfd.readouterr()
    assert fit(base_dir, world, tmp_path / "broken") == SOME_FAILED
    said = capfd.readouterr().out
    assert f"not encoded: {name}: its loss is not a finite number at step 2" in said
    expected, found = stored(tmp_path / "whole"), stored(tmp_path / "broken")
    assert expected.keys() - found.keys() == {name}
    assert all(torch.equal(row, expected[document_id]) for document_id, row in found.items())
