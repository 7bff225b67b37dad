"""Around a batch of questions: their documents' adapters in, the answers' scores out."""

import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from lightning import Callback, LightningModule, Trainer
from pydantic import PositiveFloat
from rich.console import Console

from prag_lightning.adapters.merge import MergeRule
from prag_lightning.adapters.store.opening import AdapterStore, open_store
from prag_lightning.answering.answers import Answer, answers_with_evidence
from prag_lightning.answering.batches import QuestionBatch
from prag_lightning.answering.extraction import Scoring
from prag_lightning.answering.generate import Answers
from prag_lightning.answering.merging import AdapterMerger
from prag_lightning.answering.questions import METHODS
from prag_lightning.datamodule import DocumentDataModule
from prag_lightning.documents.records import read_records, write_records
from prag_lightning.encoding.per_document import PATIENCE, PerDocumentStrategy, wait_for_file
from prag_lightning.evaluation.scores import Prediction, score_answer, score_table, summarize
from prag_lightning.module import ParametricRAG

AnswerT = TypeVar("AnswerT", bound=Answer)


class MergedEvaluation(Callback):
    """Answers every question with the merged adapters of its documents, and scores the answers.

    Writes ``predictions.jsonl`` and ``scores.json`` under the run's root folder; ``predict``, whose
    questions have no answers to compare with, writes ``answers.jsonl``.

    Args:
        merge: How adapters are weighted.
        temperature: Of the merge rule ``score``, in units of the retriever's scores.
        scoring: How answers are cut before they are compared.
        on_missing: What to do when a retrieved document has no adapter: stop, or merge without
            it and say how many there were.
    """

    def __init__(
        self,
        merge: MergeRule = "anchored",
        temperature: PositiveFloat = 1.0,
        scoring: Scoring = "strict",
        on_missing: Literal["error", "skip"] = "error",
    ) -> None:
        self.merge: MergeRule = merge
        self.temperature = temperature
        self.scoring: Scoring = scoring
        self.on_missing = on_missing

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the store, if a method needs adapters."""
        self._begin(trainer, pl_module, "predictions")

    def on_test_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Load the batch's adapters, and route every row to its own."""
        self._route(cast(ParametricRAG, pl_module), batch)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Take the adapters out again, and score the answers."""
        self._routed.__exit__(None, None, None)
        texts, nll = cast(Answers, outputs).texts, cast(Answers, outputs).nll.tolist()
        elapsed = time.monotonic() - self._batch_start
        seconds = elapsed / len(batch.questions) / trainer.world_size
        answers = self._answers(batch, texts)
        beyond = self._data.beyond_limit
        for answer, question, value in zip(answers, batch.questions, nll, strict=True):
            counts = question.id not in beyond
            self._records.append(score_answer(answer, question, value, seconds, counts))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write predictions and scores, and print the scores."""
        predictions = self._gather(trainer, Prediction)
        if not trainer.is_global_zero:
            return
        scores = summarize(predictions)
        rows = [score.model_dump(exclude_none=True) for score in scores]
        write_records(self._root / "predictions.jsonl", predictions)
        text = json.dumps(rows, indent=1) + "\n"
        (self._root / "scores.json").write_text(text, encoding="utf-8")
        console = Console()
        console.print(score_table(scores))
        self._print_missing(console)
        console.print(f"predictions and scores are in {self._root}")

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the store, if a method needs adapters."""
        self._begin(trainer, pl_module, "answers")

    def on_predict_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Load the batch's adapters, and route every row to its own."""
        self._route(cast(ParametricRAG, pl_module), batch)

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Take the adapters out again, and keep the answers."""
        self._routed.__exit__(None, None, None)
        self._records += self._answers(batch, outputs)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the answers."""
        answers = self._gather(trainer, Answer)
        if not trainer.is_global_zero:
            return
        count = write_records(self._root / "answers.jsonl", answers)
        console = Console()
        self._print_missing(console)
        console.print(f"{count} answers are in {self._root / 'answers.jsonl'}")

    def _answers(self, batch: QuestionBatch, texts: Sequence[str]) -> list[Answer]:
        return answers_with_evidence(
            batch, self._merges, texts, self.scoring, self._data.encoder.template.reasons
        )

    def _print_missing(self, console: Console) -> None:
        for method, count in (+self._num_missing).items():
            console.print(f"{method}: {count} retrieved documents had no adapter and were left out")

    def _part(self, rank: int) -> Path:
        """Where a process leaves its records for the first one."""
        return self._root / f"{self._name}.{rank}.jsonl"

    def _gather(self, trainer: Trainer, record_type: type[AnswerT]) -> list[AnswerT]:
        """Return the records of all processes; they meet in files, for nothing else joins them.

        Raises:
            LostProcessError: If another process ended before it wrote its own.
        """
        if trainer.world_size == 1:
            return cast(list[AnswerT], self._records)
        write_records(self._part(trainer.global_rank), self._records)
        if not trainer.is_global_zero:
            return []
        files = [self._part(rank) for rank in range(trainer.world_size)]
        check = cast(PerDocumentStrategy, trainer.strategy).check_processes
        patience = max(PATIENCE, time.monotonic() - self._start)
        for file in files:
            wait_for_file(file, patience, check)
        records = [row for file in files for row in read_records(file, record_type)]
        for file in files:
            file.unlink()
        order = [str(name) for name in METHODS]
        return sorted(records, key=lambda record: order.index(record.method))

    def _begin(self, trainer: Trainer, pl_module: LightningModule, name: str) -> None:
        self._root, self._name = Path(trainer.default_root_dir), name
        # A part that an earlier run left behind must not be taken for this run's.
        self._part(trainer.global_rank).unlink(missing_ok=True)
        self._records: list[Answer] = []
        module = cast(ParametricRAG, pl_module)
        self._data = data = cast(DocumentDataModule, cast(Any, trainer).datamodule)
        store: AdapterStore | None = None
        if data.needs_adapters:
            store = open_store(module.store_dir, module.recipe(data), mode="read")
        start = module.warm_start_row().to(module.device)
        self._merger = AdapterMerger(module.bank, store, start, self.merge, self.temperature)
        self._start = time.monotonic()
        self._num_missing: Counter[str] = Counter()

    def _route(self, module: ParametricRAG, batch: QuestionBatch) -> None:
        self._batch_start = time.monotonic()
        self._merges = [self._merger.choose(documents) for documents in batch.adapters]
        missing = [found for merge in self._merges for found in merge.missing]
        if missing and self.on_missing == "error":
            raise ValueError(
                f"document '{missing[0].document_id}' was retrieved but has no adapter; encode it "
                "with `prag fit`, or leave such documents out with --evaluation.on_missing skip"
            )
        self._num_missing[batch.method] += len(missing)
        route = self._merger.load(self._merges, noise=batch.method == "random")
        self._routed = module.bank.routed(route)
        self._routed.__enter__()
