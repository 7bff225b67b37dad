"""Blocks encoded in this process, against a local run."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from prag_lightning.adapters.store.opening import open_store, verify_store
from prag_lightning.callbacks import AdapterWriter, SlotFinder, WarmStart
from prag_lightning.clusters.block_encoder import BlockEncoder, BlockResult
from prag_lightning.clusters.blocks import make_blocks
from prag_lightning.clusters.worker_parts import WorkerParts
from prag_lightning.datamodule import DocumentDataModule
from prag_lightning.demo.world import write_world
from prag_lightning.encoding.plan import EncodingTask, TrainingPrompt
from prag_lightning.module import ParametricRAG
from tests.conftest import quiet_trainer

pytestmark = pytest.mark.filterwarnings(
    "ignore:Total length of .* across ranks is zero", "ignore:.*LeafSpec"
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    write_world(folder, num_people=6)
    return folder


def module_for(base_dir: Path) -> ParametricRAG:
    return ParametricRAG(str(base_dir), lr=3e-3, num_slots=1)


def data_for(base_dir: Path, world: Path) -> DocumentDataModule:
    return DocumentDataModule(world, base=str(base_dir), num_rewrites=0, num_qas=3, num_slots=1)


def encoder_for(base_dir: Path, world: Path, root: Path) -> BlockEncoder:
    parts = WorkerParts(
        module_for(base_dir),
        data_for(base_dir, world).of_tasks([]),
        [WarmStart(), AdapterWriter(), SlotFinder()],
        {"accelerator": "cpu", "default_root_dir": root},
    )
    return BlockEncoder(parts)


def stored(folder: Path) -> dict[str, Tensor]:
    assert verify_store(folder) == []
    with open_store(folder, mode="read") as store:
        ids = list(store.ids())
        return dict(zip(ids, store.get_many(ids), strict=True))


def test_blocks_give_the_adapters_of_a_local_run_and_a_faulty_document_costs_no_other(
    base_dir: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = data_for(base_dir, world)
    trainer = quiet_trainer(tmp_path / "local", WarmStart(), AdapterWriter())
    trainer.fit(module_for(base_dir), data)
    expected = stored(tmp_path / "local" / "adapters")

    encoder = encoder_for(base_dir, world, tmp_path / "blocks")
    # The base stays where it is from block to block.
    monkeypatch.setattr(ParametricRAG, "cpu", None)
    # No tokenizer takes a lone surrogate, and no store.
    bad = EncodingTask("bad", [TrainingPrompt("q\ud800", (), "a")])
    unnamed = EncodingTask("\ud800", [TrainingPrompt("q", (), "a")])
    first, *others = make_blocks(data.plan.tasks, 2)
    result = BlockResult()
    for one in encoder.work([*first.tasks[:1], bad, *first.tasks[1:], unnamed]):
        result.add(one)
    assert result.failures.keys() == {"bad", "\ud800"}
    assert result.failures["bad"].startswith("TypeError: TextEncodeInput must be")
    assert "surrogates not allowed" in result.failures["\ud800"]
    for block in others:
        (whole,) = encoder.work(block.tasks)
        result.add(whole)
    # A block that was encoded before by a worker that died.
    (again,) = encoder.work(data.plan.tasks)
    assert sorted(again.receipts) == sorted(result.receipts)
    encoder.close()

    found = stored(tmp_path / "blocks" / "adapters")
    assert found.keys() == expected.keys() == {receipt.document_id for receipt in result.receipts}
    for document_id, row in expected.items():
        assert torch.equal(found[document_id], row)
    assert len(list((tmp_path / "blocks" / "adapters").glob("writer-*/"))) == 1


def test_settings_that_the_store_refuses_are_no_fault_of_documents(
    base_dir: Path, world: Path, tmp_path: Path
) -> None:
    encoder = encoder_for(base_dir, world, tmp_path)
    encoder.work([])
    encoder.close()
    other = encoder_for(base_dir, world, tmp_path)
    other._parts.module.lr = 0.1
    with pytest.raises(ValueError, match="lr"):
        other.work([EncodingTask("a", [TrainingPrompt("q", (), "a")])])
