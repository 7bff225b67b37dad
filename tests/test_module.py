"""Encoding through the Trainer, against one document after another with PEFT and torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, LightningDataModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from prag_lightning.adapters.layout import LoraConfig
from prag_lightning.answering.questions import QuestionBatches
from prag_lightning.callbacks import WarmStart
from prag_lightning.documents.records import Question
from prag_lightning.encoding.batches import EncodingBatch
from prag_lightning.encoding.plan import EncodingSteps, EncodingTask, TrainingPrompt
from prag_lightning.language_model.base_model import load_base
from prag_lightning.language_model.prompts import PromptEncoder
from prag_lightning.module import ParametricRAG
from tests.conftest import tiny_tokenizer
from tests.reference import encode_sequentially

LORA = LoraConfig(rank=2, alpha=32)


def tasks(num_documents: int = 5) -> list[EncodingTask]:
    """Documents of unequal lengths and numbers of prompts."""
    texts = [" ".join(["Ada was born in Paris."] * (1 + n % 3)) for n in range(num_documents)]
    return [
        EncodingTask(
            f"document {n}",
            [
                TrainingPrompt(f"Who is number {n} of {i}", (text,), f"Ada {i}")
                for i in range(2 + n)
            ],
        )
        for n, text in enumerate(texts)
    ]


class Steps(LightningDataModule):
    """Hands an encoding to the Trainer."""

    def __init__(self, tasks: Sequence[EncodingTask], num_slots: int, packed: bool = True) -> None:
        super().__init__()
        encoder = PromptEncoder(tiny_tokenizer())
        self.steps = EncodingSteps(tasks, num_slots, encoder, packed=packed)

    def train_dataloader(self) -> DataLoader[EncodingBatch]:
        return DataLoader(self.steps, batch_size=None)


class Collect(Callback):
    """Keeps the adapter of every document that is finite, where the store would."""

    def __init__(self) -> None:
        self.rows: dict[str, Tensor] = {}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        for slot, document_id in batch.ends.items():
            finished = pl_module.take_finished([slot])
            if finished.failed_at == 0:
                self.rows[document_id] = finished.rows[0]


def encode(
    module: ParametricRAG,
    data: Steps,
    precision: Any = "32-true",
    callbacks: Sequence[Callback] = (),
) -> dict[str, Tensor]:
    """Return each document's adapter as the Trainer leaves it."""
    collect = Collect()
    Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        precision=precision,
        callbacks=[WarmStart(), collect, *callbacks],
    ).fit(module, datamodule=data)
    return collect.rows


def reference(base_dir: Path, work: Sequence[EncodingTask], **settings: Any) -> dict[str, Tensor]:
    """Return each document's adapter as PEFT and torch make it."""
    encoder = PromptEncoder(tiny_tokenizer())
    documents = [
        [encoder.encode_training(p.question, p.passages, p.answer)[0] for p in task.prompts]
        for task in work
    ]
    base = load_base(str(base_dir), dtype=settings.pop("dtype", "float32"))
    module = ParametricRAG(str(base_dir), LORA)
    module.configure_model()
    layout, start = module.bank.layout, module.warm_start_row()
    rows = encode_sequentially(base, LORA, layout, start, documents, 3e-4, **settings)
    return {task.document_id: row for task, row in zip(work, rows, strict=True)}


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("num_slots", [1, 3, 8])
def test_many_documents_at_once_give_the_adapters_that_each_gives_alone(
    base_dir: Path, num_slots: int, packed: bool
) -> None:
    work = tasks()
    expected = reference(base_dir, work)
    module = ParametricRAG(str(base_dir), LORA, num_slots=num_slots)
    rows = encode(module, Steps(work, num_slots, packed))
    assert rows.keys() == expected.keys()
    for document_id, row in rows.items():
        torch.testing.assert_close(row, expected[document_id], rtol=0, atol=1e-5)
        # Training moved it much further than that.
        assert (row - module.warm_start_row()).abs().max() > 3e-4
    assert (rows["document 0"] - rows["document 1"]).abs().max() > 3e-4


class Read(Callback):
    """Counts what the model reads, and keeps what every step's batch says of it."""

    def __init__(self) -> None:
        self.said: list[tuple[int, int]] = []
        self.found: list[tuple[int, int]] = []

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        def count(module: Any, args: Any, inputs: dict[str, Tensor]) -> None:
            self.num_read += inputs["input_ids"].numel()

        pl_module.base.get_decoder().register_forward_pre_hook(count, with_kwargs=True)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        self.num_read = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.said.append((batch.num_tokens, batch.num_places))
        self.found.append((sum(len(row.ids) for row in batch.rows), self.num_read))


@pytest.mark.parametrize("packed", [True, False])
def test_the_padding_that_is_logged_is_that_of_what_the_model_reads(
    base_dir: Path, packed: bool
) -> None:
    read = Read()
    module = ParametricRAG(str(base_dir), LORA, num_slots=4)
    encode(module, Steps(tasks(), 4, packed), callbacks=[read])
    assert read.said == read.found
    paddings = [1 - num_tokens / num_read for num_tokens, num_read in read.found]
    assert (max(paddings) == 0) == packed
    assert max(paddings) < 0.05


def test_gradients_are_clipped_for_each_document_alone(base_dir: Path) -> None:
    work = tasks(3)
    module = ParametricRAG(str(base_dir), LORA, num_slots=3, max_grad_norm=0.01)
    rows = encode(module, Steps(work, 3))
    expected = reference(base_dir, work, max_grad_norm=0.01)
    unclipped = reference(base_dir, work)
    for document_id, row in rows.items():
        torch.testing.assert_close(row, expected[document_id], rtol=0, atol=1e-5)
        assert (row - unclipped[document_id]).abs().max() > 1e-5


def test_the_base_model_does_not_change_in_any_bit(base_dir: Path) -> None:
    module = ParametricRAG(str(base_dir), LORA, num_slots=2)
    encode(module, Steps(tasks(), 2))
    assert module.base is not None
    before = load_base(str(base_dir)).state_dict()
    after = module.base.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


class Break(Callback):
    """Makes one document's adapter infinite at its second step."""

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        for slot, document_id in batch.documents.items():
            if document_id == "document 1" and document_id not in batch.begins.values():
                pl_module.bank.weight.data[slot] = float("inf")


@pytest.mark.parametrize("packed", [True, False])
def test_a_document_that_is_not_finite_is_left_out_and_changes_no_other(
    base_dir: Path, packed: bool
) -> None:
    work = tasks()
    whole = encode(ParametricRAG(str(base_dir), LORA, num_slots=3), Steps(work, 3, packed))
    broken = encode(
        ParametricRAG(str(base_dir), LORA, num_slots=3), Steps(work, 3, packed), callbacks=[Break()]
    )
    assert whole.keys() - broken.keys() == {"document 1"}
    assert all(torch.equal(row, whole[document_id]) for document_id, row in broken.items())


def test_a_checkpoint_holds_no_base_model(base_dir: Path) -> None:
    module = ParametricRAG(str(base_dir), LORA, num_slots=2)
    module.configure_model()
    checkpoint: dict[str, Any] = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(checkpoint)
    assert list(checkpoint["state_dict"]) == ["bank.weight"]


def test_a_module_that_has_encoded_answers_as_one_that_has_not(base_dir: Path) -> None:
    questions = [
        Question(id="short", question="Who?", answers=["Ada"]),
        Question(id="long", question="Where was Ada born, in Paris or elsewhere?", answers=["Bo"]),
    ]
    encoder = PromptEncoder(tiny_tokenizer())
    batch = QuestionBatches("closed_book", questions, {}, {}, [], encoder, 2, 300)[0]
    used, fresh = (ParametricRAG(str(base_dir), LORA, num_slots=2) for _ in range(2))
    encode(used, Steps(tasks(2), 2))
    fresh.configure_model()
    answers, expected = (module.test_step(batch, 0) for module in (used, fresh))
    assert answers.texts == expected.texts
    assert torch.equal(answers.nll, expected.nll)
