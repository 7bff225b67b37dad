"""Checks on a few documents after training whether knowledge was stored."""

from typing import Any, NamedTuple, cast

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from prag_lightning.datamodule import DocumentDataModule
from prag_lightning.encoding.batches import Row, collate_encoding
from prag_lightning.encoding.plan import EncodingTask
from prag_lightning.language_model.prompts import PromptEncoder
from prag_lightning.module import ParametricRAG

_NUM_DOCUMENTS = 4
_NUM_QUESTIONS = 4
# By how many nats per token a document's own adapter must beat another's for the document to count
# as stored: 0.5 nats make a token 1.6 times as likely.
_LEAST_GAIN = 0.5


class StoredKnowledge(NamedTuple):
    """Mean negative log-likelihoods of documents' own answers, in nats per token.

    Args:
        own: With the document's adapter.
        other: With that of another document.
        none: With the warm start.
    """

    own: float
    other: float
    none: float


class StorageCheck(Callback):
    """Reports at the end of ``fit`` whether adapters know the answers that they were trained on.

    For the first few finished documents, it compares the likelihood of their answers, without the
    document in the prompt, under their own adapter, another document's and none. This checks the
    recipe and is not an evaluation: the questions are those of training. Afterwards `found` holds
    the numbers, if there were two documents with question-answer pairs.
    """

    def __init__(self) -> None:
        self.found: StoredKnowledge | None = None
        self._rows: dict[str, Tensor] = {}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reset the state."""
        self.found = None
        self._rows = {}

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Keep the first finished adapters."""
        for slot, document_id in batch.ends.items():
            if len(self._rows) < _NUM_DOCUMENTS:
                self._rows[document_id] = (
                    cast(ParametricRAG, pl_module).bank.weight.detach()[slot].clone()
                )

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare the likelihoods, and report the result."""
        data = cast(Any, trainer).datamodule
        if not isinstance(data, DocumentDataModule) or not trainer.is_global_zero:
            return
        tasks = [
            task
            for task in data.plan.tasks
            if task.document_id in self._rows and any(prompt.question for prompt in task.prompts)
        ]
        if len(tasks) < 2:
            return
        module = cast(ParametricRAG, pl_module)
        with trainer.precision_plugin.forward_context():
            self.found = self._compare(module, tasks, data.training_encoder)
        self._say(len(tasks))

    def _compare(
        self, module: ParametricRAG, tasks: list[EncodingTask], encoder: PromptEncoder
    ) -> StoredKnowledge:
        rows = [self._rows[task.document_id] for task in tasks]
        start = module.warm_start_row().to(module.device)
        found = [
            [_loss(module, task, encoder, row) for row in (rows[place], rows[place - 1], start)]
            for place, task in enumerate(tasks)
        ]
        return StoredKnowledge(*torch.tensor(found).mean(0).tolist())

    def _say(self, num_documents: int) -> None:
        assert self.found is not None
        own, other, none = self.found
        print(
            f"stored knowledge, on {num_documents} documents' own answers, in nats a token: "
            f"{own:.2f} with the own adapter, {other:.2f} with another's, {none:.2f} with none"
        )
        if other - own < _LEAST_GAIN:
            print(
                "little was stored; raise --model.lr, --data.passes or --model.lora.rank, or train "
                "on more question-answer pairs"
            )


def _loss(module: ParametricRAG, task: EncodingTask, encoder: PromptEncoder, row: Tensor) -> float:
    """Return the mean loss of a document's first answers with an adapter."""
    module.bank.load(0, row)
    asked = {prompt.question: prompt for prompt in task.prompts if prompt.question}
    rows = []
    for prompt in list(asked.values())[:_NUM_QUESTIONS]:
        tokens = encoder.encode_training(
            prompt.question, (), prompt.answer, full_answer=prompt.full_answer
        )
        rows.append(Row(0, tokens.ids, tokens.num_user_tokens))
    batch = collate_encoding(rows, True, {}, {}, {0: task.document_id})
    return module.losses(batch.to(module.device)).item()
