"""Answers block after block of questions in one process, over a base that is loaded once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast

import lightning as L
from torch.utils.data import Dataset

from prag_lightning.answering.answers import Answer
from prag_lightning.answering.batches import QuestionBatch
from prag_lightning.answering.question_set import QuestionSet
from prag_lightning.callbacks.merged_evaluation import MergedEvaluation
from prag_lightning.clusters.worker_parts import WorkerParts, find_callback
from prag_lightning.documents.records import Document

Stage = Literal["test", "predict"]


class AskedBatch(NamedTuple):
    """A batch of questions for one method.

    Args:
        batch: The batch, as a local run asks it.
        documents: The documents whose adapters it merges, as they are now, by id.
    """

    batch: QuestionBatch
    documents: Mapping[str, Document]


class AnsweredBlock(NamedTuple):
    """The answers to the questions of a block.

    Args:
        answers: The answers, for ``test`` with their scores.
        steering: Settings of the base's generation config that would change greedy answers.
    """

    answers: list[Answer]
    steering: dict[str, Any]


@dataclass(frozen=True)
class _Block(QuestionSet):
    """Questions whose batches were made in another process."""

    given: Sequence[QuestionBatch] = ()

    @classmethod
    def of(cls, tasks: Sequence[AskedBatch]) -> "_Block":
        batches = [task.batch for task in tasks]
        return cls(
            questions=[question for batch in batches for question in batch.questions],
            methods=cast(Any, list(dict.fromkeys(batch.method for batch in batches))),
            not_counted=frozenset(),
            retrieved={},
            documents={name: d for task in tasks for name, d in task.documents.items()},
            encoded=(),
            given=batches,
        )

    def batches(self, method: str, *_: Any) -> Dataset[QuestionBatch]:
        """Return the batches of one method."""
        return cast(Dataset[QuestionBatch], [one for one in self.given if one.method == method])


class BlockAnswerer:
    """Answers blocks as a local run does, with one ``Trainer.test`` or ``predict`` for each.

    The base stays loaded from one block to the next.

    Args:
        parts: Module, data module and callbacks.
        stage: Whether answers are scored (``test``), or not (``predict``).

    Raises:
        ValueError: If there is not exactly one `MergedEvaluation` among the callbacks.
    """

    def __init__(self, parts: WorkerParts, stage: Stage) -> None:
        L.seed_everything(parts.seed, workers=True, verbose=False)
        self._parts = parts
        self._stage = stage
        self._evaluation = find_callback(parts.callbacks, MergedEvaluation)
        self._evaluation.only_answer()

    def work(self, tasks: Sequence[AskedBatch]) -> list[AnsweredBlock]:
        """Answer questions.

        Raises:
            Exception: Whatever ends a local run, such as a document without an adapter.
        """
        module, data = self._parts.module, self._parts.data.of_questions(_Block.of(tasks))
        trainer = self._parts.make_trainer(self._parts.callbacks)
        if self._stage == "test":
            trainer.test(module, data, verbose=False)
        else:
            trainer.predict(module, data, return_predictions=False)
        return [AnsweredBlock(list(self._evaluation.records), module.steering_settings)]

    def close(self) -> None:
        """Do nothing: the store is closed after each block."""
