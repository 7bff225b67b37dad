"""Documents orthogonal to a task adapter, against a loop of PEFT and torch."""

from pathlib import Path
from typing import NamedTuple

import lightning as L
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedModel

from prag_lightning import (
    AdapterWriter,
    DocumentDataModule,
    LoraConfig,
    OrthogonalToTask,
    ParametricRAG,
    WarmStart,
    open_store,
)
from prag_lightning.adapters.bank import AdapterBank
from prag_lightning.adapters.layout import AdapterLayout
from prag_lightning.adapters.optimizer import StackedAdamW
from prag_lightning.demo.world import write_world
from prag_lightning.encoding.batches import Row, collate_encoding
from prag_lightning.encoding.orthogonal import TaskDirections
from prag_lightning.encoding.slot_trainer import SlotTrainer
from prag_lightning.language_model.attention import SEGMENTED
from tests.conftest import quiet_trainer, tiny_base
from tests.encoding.test_slot_trainer import warm_start
from tests.reference import lora_parameters, peft_model, prompt_nll, set_adapter

LORA = LoraConfig(rank=2, alpha=32)
TEXTS = {"a": [5, 9, 14, 3, 7, 11], "b": [8, 2, 6, 30, 12], "c": [40, 41, 42, 43, 3, 5, 9]}
LR, CLIP, WEIGHT = 3e-3, 1.0, 0.5


def task_of(layout: AdapterLayout, weight: float | None) -> TaskDirections:
    """A task adapter of rank 3 in all modules but those of the second block."""
    generator = torch.Generator().manual_seed(5)
    task_A = {
        matrix.key: torch.randn(3, matrix.shape[1], generator=generator, dtype=torch.float64)
        for matrix in layout.matrices[::2]
        if ".layers.0." in matrix.key
    }
    return TaskDirections(task_A, layout, weight)


class Trained(NamedTuple):
    """A bank over a base, with attention that needs no mask."""

    base: PreTrainedModel
    bank: AdapterBank

    def rows(self, task: TaskDirections | None) -> dict[str, Tensor]:
        """Return the adapters of three documents after three steps; the third pauses for one."""
        trainer = SlotTrainer(self.base, self.bank, max_grad_norm=CLIP, task=task)
        optimizer = StackedAdamW(self.bank.weight, lr=LR)
        for step, busy in enumerate([(0, 1, 2), (0, 1, 2), (0, 1), (2,)]):
            slots = {slot: list(TEXTS)[slot] for slot in busy}
            begins = slots if step == 0 else {}
            trainer.start(begins, warm_start(self.bank.layout, torch.float64), optimizer)
            rows = [Row(slot, TEXTS[name], 0) for slot, name in slots.items()]
            trainer.step(collate_encoding(rows, True, begins, {}, slots), optimizer)
        return dict(zip(TEXTS, self.bank.weight.detach().clone(), strict=True))


@pytest.fixture
def slots() -> Trained:
    base = tiny_base(dtype=torch.float64)
    base.set_attn_implementation(SEGMENTED)
    return Trained(base, AdapterBank(base, LORA, 3, torch.float64))


def expected(name: str, layout: AdapterLayout, task: TaskDirections) -> Tensor:
    """One document's adapter: the penalty by autograd, the projection by a null space."""
    model = peft_model(tiny_base(dtype=torch.float64), LORA).to(torch.float64)
    set_adapter(model, layout, warm_start(layout, torch.float64))
    parameters = lora_parameters(model)
    optimizer = torch.optim.AdamW(parameters.values(), lr=LR, foreach=False)
    own = {key: parameters[key] for key in task.task_A}

    def project() -> None:
        for key, task_A in task.task_A.items():
            null_space = torch.linalg.svd(task_A).Vh[len(task_A) :]
            own[key].data = own[key].data @ null_space.T @ null_space

    if task.weight is None:
        project()
    for _ in range(3):
        loss = prompt_nll(model, torch.tensor(TEXTS[name]))
        if task.weight is not None:
            overlaps = [(task_A @ own[key].T).square().sum() for key, task_A in task.task_A.items()]
            loss = loss + task.weight * torch.stack(overlaps).sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters.values(), CLIP)
        optimizer.step()
        optimizer.zero_grad()
        if task.weight is None:
            project()
    return layout.join({k: p.detach() for k, p in parameters.items()}, "reference")


def overlap(adapter: Tensor, task: TaskDirections) -> float:
    """The largest cosine-like overlap between the input directions of an adapter and the task's."""
    matrices = task.layout.split(adapter)
    return max(
        float((task_A @ matrices[key].T).norm() / task_A.norm() / matrices[key].norm())
        for key, task_A in task.task_A.items()
    )


@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_documents_beside_a_task_train_as_in_a_loop_of_peft_in_float64(
    slots: Trained, weight: float | None
) -> None:
    task = task_of(slots.bank.layout, weight)
    for name, row in slots.rows(task).items():
        assert (row - expected(name, slots.bank.layout, task)).abs().max() < 1e-9


def test_the_overlap_with_the_task_is_large_alone_small_by_penalty_and_none_by_projection(
    slots: Trained,
) -> None:
    layout = slots.bank.layout
    task = task_of(layout, None)
    alone, penalized, projected = (slots.rows(t) for t in (None, task_of(layout, 20.0), task))
    for name in TEXTS:
        assert overlap(alone[name], task) > 0.1
        assert overlap(penalized[name], task) < 0.9 * overlap(alone[name], task)
        assert overlap(projected[name], task) < 1e-14 < overlap(penalized[name], task)
    # All modules still learn, within the directions that are left.
    change = projected["a"] - warm_start(layout, torch.float64)
    assert all(matrix.abs().max() > 1e-4 for matrix in layout.split(change).values())


def test_directions_that_a_task_reads_twice_are_taken_out_once(slots: Trained) -> None:
    weight, layout = slots.bank.weight.detach(), slots.bank.layout
    task = task_of(layout, None)
    doubled = {key: torch.cat([A, A[:1], 0 * A[:1]]) for key, A in task.task_A.items()}
    weight.normal_(generator=torch.Generator().manual_seed(0))
    once, twice = weight.clone(), weight.clone()
    task.project_(once, [0, 2])
    TaskDirections(doubled, layout).project_(twice, [0, 2])
    torch.testing.assert_close(once, twice, rtol=0, atol=1e-12)
    assert torch.equal(once[1], weight[1])
    assert not torch.equal(once[0], weight[0])


# ---------------------------------------------------------------- a whole run


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("orthogonal")
    write_world(folder / "data", num_people=2)
    return folder


@pytest.fixture(scope="module")
def task_dir(world: Path) -> Path:
    model = peft_model(tiny_base(), LoraConfig(3, 8, ("up_proj",)))
    for parameter in lora_parameters(model).values():
        parameter.data.normal_(generator=torch.Generator().manual_seed(0))
    model.save_pretrained(str(world / "task"))
    return world / "task"


def fit(folder: Path, data: Path, base_dir: Path, *callbacks: L.Callback) -> None:
    trainer = quiet_trainer(folder, *callbacks, AdapterWriter(str(folder / "adapters")))
    data_module = DocumentDataModule(data, str(base_dir), num_qas=1, num_rewrites=0)
    trainer.fit(ParametricRAG(str(base_dir), LORA, lr=1e-2), data_module)


def test_a_run_keeps_adapters_orthogonal_to_the_task_adapter_in_a_folder(
    world: Path, task_dir: Path, base_dir: Path, tmp_path: Path
) -> None:
    fit(tmp_path / "alone", world / "data", base_dir, WarmStart())
    fit(tmp_path / "apart", world / "data", base_dir, WarmStart(), OrthogonalToTask(str(task_dir)))
    saved = load_file(task_dir / "adapter_model.safetensors")
    task_A = {key: matrix for key, matrix in saved.items() if ".lora_A." in key}
    assert len(task_A) == 2
    task = TaskDirections(task_A, AdapterBank(tiny_base(), LORA, 1).layout)
    for name, near in (("alone", False), ("apart", True)):
        with open_store(tmp_path / name / "adapters", mode="read") as store:
            rows = store.get_many(sorted(store.ids()))
            recorded = str(store.recipe.training.get("orthogonal_to"))
        assert [overlap(row, task) < 1e-6 for row in rows] == [near] * 2
        assert recorded.startswith("projection, ") == near
    with pytest.raises(ValueError, match=r"training\.orthogonal_to"):
        fit(tmp_path / "apart", world / "data", base_dir, WarmStart())


def test_what_cannot_be_kept_orthogonal_is_refused(
    world: Path, task_dir: Path, base_dir: Path, tmp_path: Path
) -> None:
    for weight in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="give a number above 0, or leave it out"):
            OrthogonalToTask("anywhere", weight)
    missing = OrthogonalToTask(str(tmp_path / "nothing"))
    with pytest.raises(FileNotFoundError, match="nothing"):
        fit(tmp_path / "a", world / "data", base_dir, WarmStart(), missing)
    other = peft_model(tiny_base(), LoraConfig(2, 8, ("q_proj",)))
    other.save_pretrained(str(tmp_path / "attention"))
    attention = OrthogonalToTask(str(tmp_path / "attention"))
    with pytest.raises(ValueError, match="adapts none of the documents' modules"):
        fit(tmp_path / "b", world / "data", base_dir, WarmStart(), attention)
    start = peft_model(tiny_base(), LORA)
    for parameter in lora_parameters(start).values():
        parameter.data.normal_()
    start.save_pretrained(str(tmp_path / "start"))
    warm = WarmStart(str(tmp_path / "start"))
    with pytest.raises(ValueError, match="the warm start is trained, and would be projected"):
        fit(tmp_path / "c", world / "data", base_dir, warm, OrthogonalToTask(str(task_dir)))
