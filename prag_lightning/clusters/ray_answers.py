"""Answering with the workers of a Ray cluster: `prag test --engine ray`, and from Python."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from lightning import Callback

from prag_lightning.answering.answers import Answer
from prag_lightning.answering.questions import QuestionBatches
from prag_lightning.callbacks.merged_evaluation import MergedEvaluation
from prag_lightning.callbacks.progress_bar import Work, displayed
from prag_lightning.callbacks.warm_start import WarmStart
from prag_lightning.clusters.block_answerer import (
    AnsweredBlock,
    AskedBatch,
    BlockAnswerer,
    Stage,
)
from prag_lightning.clusters.blocks import Block, make_blocks
from prag_lightning.clusters.ray_cluster import open_pool, require_ray
from prag_lightning.clusters.ray_pool import RayPool
from prag_lightning.clusters.worker_parts import WorkerParts, find_callback, require_no_weights
from prag_lightning.clusters.workers import RayWorkers
from prag_lightning.datamodule import DocumentDataModule
from prag_lightning.documents.records import Document, Question
from prag_lightning.encoding.per_document import LostProcessError
from prag_lightning.evaluation.reporting import report_answers, report_scores, say_generation
from prag_lightning.evaluation.scores import Prediction, summarize
from prag_lightning.module import ParametricRAG

# Batches of a block: few enough that nobody waits long while their prompts are made.
_MOST = 32


def answer_with_ray(
    module: ParametricRAG,
    data: DocumentDataModule,
    workers: RayWorkers = RayWorkers(),  # noqa: B008 - frozen
    *,
    stage: Stage = "test",
    root_dir: str | Path = ".",
    callbacks: Sequence[Callback] | None = None,
    trainer: Mapping[str, Any] | None = None,
    seed: int = 0,
    shows_progress: bool = True,
) -> list[Answer]:
    """Answer questions with the workers of a Ray cluster, and report them as a local run does.

    Documents are retrieved, and prompts made, in this process; workers get the batches of a local
    run, so that the answers are the same. All machines need the folder of the store, and that of
    the base, unless it has a hub name.

    Args:
        module: The module; its base is loaded by the workers only.
        data: The questions, and how they are asked.
        workers: The workers. A notebook that has called ``ray.init`` stays connected as it is.
        stage: Whether answers are scored (``test``), or not (``predict``).
        root_dir: Root folder of the run.
        callbacks: Callbacks of every worker, a `MergedEvaluation` among them; by default also a
            `WarmStart`.
        trainer: Further settings of every worker's Trainer, such as ``precision``.
        seed: Seed of every worker's random numbers.
        shows_progress: Show the progress on standard error.

    Returns:
        The answers, method by method, in the order of a local run; for ``test`` each is a
        `Prediction`.

    Raises:
        ValueError: If ray is not installed, or these settings need a local run.
        LostProcessError: If workers die one after another, or over the same questions.
        Exception: Whatever ends a local run, such as a document without an adapter.
    """
    callbacks = [WarmStart(), MergedEvaluation()] if callbacks is None else list(callbacks)
    evaluation = find_callback(callbacks, MergedEvaluation)
    require_ray()
    require_no_weights(module)
    root_dir = Path(root_dir).absolute()
    data.use_run_dir(root_dir)
    data.prepare_data()
    data.prepare_questions()
    data.setup(stage)
    asked = data.question_set(stage)
    if stage == "test":
        evaluation.refuse_questions_of_choice(root_dir, asked.questions)
    settings = {"accelerator": workers.accelerator, **(trainer or {}), "default_root_dir": root_dir}
    parts = WorkerParts(module, data.of_tasks([]), callbacks, settings, seed)
    methods = [cast(QuestionBatches, loader.dataset) for loader in data.question_loaders(stage)]
    tasks = [_Task(m, index, asked.documents) for m in methods for index in range(len(m))]
    # The longest prompts of every method come first: what does not fit is found at once.
    tasks.sort(key=lambda task: len(task.batches) - task.index)
    workers = replace(workers, num_workers=min(workers.num_workers, len(tasks)))
    with open_pool(partial(BlockAnswerer, parts, stage), workers, _Task.make) as pool:
        found, steering = _gather(pool, tasks, workers, shows_progress)
    answers = [found[m.name, question.id] for m in methods for question in m.questions]
    say_generation(steering, module.decoding == "base")
    if stage == "predict":
        report_answers(root_dir, answers, has_gate=evaluation.has_gate)
        return answers
    predictions = cast(list[Prediction], answers)
    report_scores(
        root_dir,
        predictions,
        summarize(predictions),
        has_gate=evaluation.has_gate,
        generation=steering if module.decoding == "base" else {},
    )
    return answers


@dataclass(frozen=True)
class _Task:
    """A batch of questions, not made yet.

    Args:
        batches: The batches of its method.
        index: Its number among them.
        documents: All documents by id.
    """

    batches: QuestionBatches
    index: int
    documents: Mapping[str, Document]

    @property
    def questions(self) -> Sequence[Question]:
        size = self.batches.batch_size
        return self.batches.questions[self.index * size : (self.index + 1) * size]

    def make(self) -> AskedBatch:
        batch = self.batches[self.index]
        names = {found.document_id for row in batch.adapters for found in row}
        own = {name: self.documents[name] for name in names if name in self.documents}
        return AskedBatch(batch, own)


def _gather(
    pool: RayPool[_Task, AnsweredBlock],
    tasks: Sequence[_Task],
    workers: RayWorkers,
    shows_progress: bool,
) -> tuple[dict[tuple[str, str], Answer], dict[str, Any]]:
    """Return the answers by method and question, and the base's own generation settings.

    Raises:
        LostProcessError: If each worker that had some of the questions died.
    """
    answers: dict[tuple[str, str], Answer] = {}
    steering: dict[str, Any] = {}
    num_rows = sum(len(task.questions) for task in tasks)
    work = Work("answering", "questions", num_rows, num_rows)
    work.begin()
    with displayed(work) if shows_progress else nullcontext(lambda: None) as show:
        for block, results in pool.work(make_blocks(tasks, workers.num_workers, _MOST)):
            if results is None:
                raise _lost(block)
            for result in results:
                steering = result.steering
                for answer in result.answers:
                    answers[answer.method, answer.question_id] = _shared(answer, pool.num_ready)
                work.advance(len(result.answers), len(result.answers))
            show()
    return answers, steering


def _shared(answer: Answer, num_workers: int) -> Answer:
    """Return an answer that took a share of the run's time: workers answer at the same time."""
    if not isinstance(answer, Prediction):
        return answer
    return answer.model_copy(update={"seconds": answer.seconds / num_workers})


def _lost(block: Block[_Task]) -> LostProcessError:
    (task,) = block.tasks
    return LostProcessError(
        f"each worker that answered question '{task.questions[0].id}' and "
        f"{len(task.questions) - 1} more by '{task.batches.name}' died; they may take too much "
        "memory: give a smaller --data.question_batch_size"
    )
