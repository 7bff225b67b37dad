"""Training in company: what a step carries, and that nothing else changes."""

import copy
from pathlib import Path
from statistics import mean

import lightning as L
import pytest
import torch
from torch import Tensor, nn

from prag_lightning import (
    AdapterWriter,
    DocumentDataModule,
    LoraConfig,
    ParametricRAG,
    TrainWithStrangers,
    WarmStart,
    open_store,
)
from prag_lightning.adapters.bank import AdapterBank
from prag_lightning.adapters.optimizer import StackedAdamW
from prag_lightning.demo.world import write_world
from prag_lightning.encoding.batches import EncodingBatch, Row, collate_encoding
from prag_lightning.encoding.slot_trainer import SlotTrainer
from prag_lightning.encoding.strangers import Strangers
from prag_lightning.language_model.attention import SEGMENTED
from tests.conftest import quiet_trainer, tiny_base
from tests.encoding.test_slot_trainer import warm_start

LORA = LoraConfig(rank=2, alpha=32)


def company(bank: AdapterBank, probability: float = 1.0, seed: int = 0) -> Strangers:
    noise = torch.randn(5, bank.layout.num_params, generator=torch.Generator().manual_seed(9))
    start = warm_start(bank.layout, torch.float64)
    rows = start + 0.05 * noise.double()
    return Strangers(["a", "b", "c", "d", "e"], rows, start, probability, 3, seed)


def batch_of(documents: dict[int, str], packed: bool, begins: bool = True) -> EncodingBatch:
    rows = [
        Row(slot, [ord(name), *range(slot + 3, 12)], 0)
        for slot, name in documents.items()
        for _ in range(2)
    ]
    return collate_encoding(rows, packed, documents if begins else {}, {}, documents)


def trained(slots: dict[int, str], packed: bool, probability: float = 1.0) -> dict[str, Tensor]:
    """Return each document's adapter after three steps."""
    base = tiny_base(dtype=torch.float64)
    base.set_attn_implementation(SEGMENTED)
    bank = AdapterBank(base, LORA, 4, torch.float64)
    trainer = SlotTrainer(base, bank, strangers=company(bank, probability))
    optimizer = StackedAdamW(bank.weight, lr=1e-3)
    trainer.start(slots, warm_start(bank.layout, torch.float64), optimizer)
    for step in range(3):
        rows = [Row(slot, [ord(name), 3, 1, 4, 1, 5], 0) for slot, name in slots.items()]
        begins = slots if step == 0 else {}
        trainer.step(collate_encoding(rows, packed, begins, {}, slots), optimizer)
    return {name: bank.weight.detach()[slot].clone() for slot, name in slots.items()}


@pytest.mark.parametrize("packed", [True, False])
def test_a_step_in_company_has_the_loss_of_the_sum_of_dense_updates(packed: bool) -> None:
    base = tiny_base(dtype=torch.float64)
    dense = copy.deepcopy(base)
    base.set_attn_implementation(SEGMENTED)
    bank = AdapterBank(base, LORA, 2, torch.float64)
    strangers = company(bank)
    trainer, optimizer = SlotTrainer(base, bank, strangers=strangers), StackedAdamW(bank.weight)
    own = warm_start(bank.layout, torch.float64) * 1.5
    trainer.start([0, 1], own, optimizer)
    batch = batch_of({0: "a", 1: "x"}, packed)
    losses = trainer.step(batch, optimizer)
    for place, (slot, name) in enumerate([(0, "a"), (1, "x")]):
        drawn = strangers.draw(name, 0)
        assert drawn
        merged = copy.deepcopy(dense)
        added = [(1.0, own), *((1.0, strangers.rows[other]) for other in drawn)]
        for weight, row in [*added, (-float(len(drawn)), strangers.warm_start)]:
            add_dense(merged, bank, row, weight)
        ids = torch.tensor(batch.rows[2 * place].ids)
        logits = merged(input_ids=ids[None]).logits[0, :-1]
        expected = nn.functional.cross_entropy(logits, ids[1:])
        torch.testing.assert_close(losses[place], expected.detach(), rtol=1e-9, atol=0)
        assert slot == place


def add_dense(model: nn.Module, bank: AdapterBank, row: Tensor, weight: float) -> None:
    matrices = list(bank.layout.split(row).values())
    for (name, *_), lora_A, lora_B in zip(
        bank.layout.modules, matrices[::2], matrices[1::2], strict=True
    ):
        update = weight * LORA.scaling * lora_B @ lora_A
        model.get_submodule(name).weight.data += update  # type: ignore[operator]


@pytest.mark.parametrize("packed", [True, False])
def test_a_document_trains_as_in_any_other_company_of_slots(packed: bool) -> None:
    together = trained({0: "a", 2: "x", 3: "y"}, packed)
    for name in together:
        alone = trained({1: name}, packed)[name]
        assert (together[name] - alone).abs().max() < 1e-9
    without = trained({1: "x"}, packed, probability=1e-12)["x"]
    assert (together["x"] - without).abs().max() > 1e-4


def test_draws_follow_the_probability_never_hold_the_document_and_depend_on_the_step() -> None:
    bank = AdapterBank(tiny_base(), LORA, 1)
    strangers = company(bank, probability=0.3)
    draws = [strangers.draw("b", step) for step in range(2000)]
    assert all(1 not in places for places in draws)
    assert mean(bool(places) for places in draws) == pytest.approx(0.3, abs=0.03)
    assert {len(places) for places in draws} == {0, 1, 2, 3}
    assert draws == [strangers.draw("b", step) for step in range(2000)]
    other = company(bank, probability=0.3, seed=1)
    assert draws != [other.draw("b", step) for step in range(2000)]


def fit(folder: Path, data: Path, *callbacks: L.Callback) -> None:
    trainer = quiet_trainer(
        folder, WarmStart(), *callbacks, AdapterWriter(str(folder / "adapters"))
    )
    trainer.fit(ParametricRAG("demo", LORA), DocumentDataModule(data, num_qas=2, num_rewrites=0))


def test_a_second_run_trains_in_the_company_of_the_first(tmp_path: Path) -> None:
    write_world(tmp_path / "data", num_people=4)
    fit(tmp_path / "first", tmp_path / "data")
    strangers = TrainWithStrangers(str(tmp_path / "first" / "adapters"), probability=1.0)
    fit(tmp_path / "second", tmp_path / "data", strangers)
    stores = [open_store(tmp_path / name / "adapters", mode="read") for name in ("first", "second")]
    ids = list(stores[0].ids())
    assert len(ids) == 4
    assert not torch.equal(*(store.get_many(ids) for store in stores))
    assert "strangers" not in stores[0].recipe.training
    assert "1 to 2 in 1.0 of the steps" in str(stores[1].recipe.training["strangers"])
    with pytest.raises(ValueError, match=r"training\.strangers"):
        fit(tmp_path / "second", tmp_path / "data")


def test_too_few_strangers_are_refused(tmp_path: Path) -> None:
    write_world(tmp_path / "data", num_people=2)
    fit(tmp_path / "first", tmp_path / "data")
    strangers = TrainWithStrangers(str(tmp_path / "first" / "adapters"))
    with pytest.raises(ValueError, match="holds 2 adapters, too few to draw 2 strangers from"):
        fit(tmp_path / "second", tmp_path / "data", strangers)
    for wrong in ({"probability": 0.0}, {"probability": 1.1}, {"most": 0}, {"most": 32}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            TrainWithStrangers("anywhere", **wrong)
