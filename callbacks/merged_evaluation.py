"""Merges adapters for each batch of questions, and scores the answers."""

import heapq
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Literal, cast

from lightning import Callback, LightningModule, Trainer

from prag_lightning.adapters.gate import Gate
from prag_lightning.adapters.merge import make_merge_rule
from prag_lightning.adapters.store.opening import AdapterStore
from prag_lightning.adapters.store.recipe import digest_text
from prag_lightning.adapters.warm_start import adds_nothing
from prag_lightning.answering.answers import Answer, answers_with_evidence
from prag_lightning.answering.batches import QuestionBatch
from prag_lightning.answering.generate import Answers
from prag_lightning.answering.merge_choice import choice_file, read_choice
from prag_lightning.answering.merging import AdapterMerger, Merge
from prag_lightning.answering.questions import METHODS
from prag_lightning.answering.scoring import make_scoring
from prag_lightning.datamodule import DocumentDataModule
from prag_lightning.documents.records import Question, read_records, write_records
from prag_lightning.encoding.per_document import (
    PATIENCE,
    PerDocumentStrategy,
    current_run_id,
    wait_for_file,
)
from prag_lightning.evaluation.reporting import report_answers, report_scores, say_generation
from prag_lightning.evaluation.results import AnswerLog, AnswerT
from prag_lightning.evaluation.scores import EvaluationScores, Prediction, score_answer
from prag_lightning.module import ParametricRAG


class MergedEvaluation(Callback):
    """Answers every question with the merged adapters of its documents, and scores the answers.

    ``test`` writes ``predictions.jsonl`` and ``scores.json`` under the Trainer's root folder and
    logs ``METHOD/em``, ``METHOD/f1``, ``METHOD/precision``, ``METHOD/recall`` and ``METHOD/nll``,
    also for each type of questions, ``METHOD/TYPE/em``; ``trainer.test`` returns them.
    ``validate`` logs the same below ``val/``, for questions whose documents are encoded so far.
    ``predict``, whose questions need no accepted answers, writes ``answers.jsonl``.

    Args:
        merge: How adapters are weighted: ``anchored``, ``sum``, ``mean``, ``score``, ``falling``,
            ``centered``, ``ties``, ``projection``, ``gate`` or the import path of a `MergeRule` of
            your own; with settings as ``{"score": {"temperature": 2}}``. From Python also a
            `MergeRule`.
        scoring: How answers are extracted from generated texts and compared with the accepted
            ones: ``strict``, ``published`` or the import path of a `Scoring` of your own.
        on_missing: What to do if a document has no adapter: stop, or merge without it and report
            the number of such documents.
    """

    def __init__(
        self,
        merge: dict[str, Any] | str = "anchored",
        scoring: dict[str, Any] | str = "strict",
        on_missing: Literal["error", "skip"] = "error",
    ) -> None:
        self.merge = make_merge_rule(merge)
        self._merge_spec = merge
        self.scoring = make_scoring(scoring)
        self.on_missing = on_missing
        self._store: AdapterStore | None = None
        self._reports = True

    def only_answer(self) -> None:
        """Leave the answers in `records` for another process, which gathers and reports them."""
        self._reports = False

    @property
    def records(self) -> Collection[Answer]:
        """The answers of this process, method by method."""
        return self._records

    @property
    def has_gate(self) -> bool:
        """Whether the merge rule has a gate."""
        return isinstance(self.merge, Gate)

    def refuse_questions_of_choice(self, root: Path, questions: Sequence[Question]) -> None:
        """Refuse to score the merge rule that was chosen for a run on questions that chose it.

        Args:
            root: Folder of the run.
            questions: The questions to score on.

        Raises:
            ValueError: If the rule was chosen with any of them.
        """
        choice = read_choice(root)
        if choice is not None and choice.merge == self._merge_spec:
            choice.refuse_questions(questions, choice_file(root))

    # ---------------------------------------------------------------- begin and end

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the store, if a method needs adapters."""
        self._begin(trainer, cast(ParametricRAG, pl_module))

    on_predict_start = on_validation_start = on_test_start

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write predictions and scores, and print the scores."""
        self._close()
        if not (self._reports and trainer.is_global_zero):
            return
        loaders = cast(Any, trainer).test_dataloaders
        is_partial = sum(trainer.num_test_batches) < sum(len(loader) for loader in loaders)
        scores = self._scores.compute()
        predictions = cast(Collection[Prediction], self._records)
        report_scores(
            self._root,
            predictions,
            scores,
            has_gate=self.has_gate,
            is_partial=is_partial,
            generation=self._generation,
        )

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the store."""
        self._close()

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the answers."""
        self._close()
        self._gather(trainer, Answer)
        if self._reports and trainer.is_global_zero:
            report_answers(self._root, self._records, has_gate=self.has_gate)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Close the store."""
        self._close()

    def _begin(self, trainer: Trainer, module: ParametricRAG) -> None:
        self._root = Path(trainer.default_root_dir)
        stages = {"test": trainer.testing, "predict": trainer.predicting}
        self._stage = next((name for name, here in stages.items() if here), "validate")
        self._data = cast(DocumentDataModule, cast(Any, trainer).datamodule)
        asked = self._data.question_set(self._stage)
        if self._stage == "test":
            self.refuse_questions_of_choice(self._root, asked.questions)
        if asked.needs_adapters:
            self._store = module.open_store(self._data.training_encoder)
        start = module.warm_start_row().to(module.device)
        asks_it = [name for name in asked.methods if METHODS[name].adapters == "warm_start"]
        if asks_it and adds_nothing(start, module.bank.layout):
            raise ValueError(
                f"the method '{asks_it[0]}' answers with the warm start in the weights, but this "
                "run's is untrained; train one with --data.warm_up, or leave the method out"
            )
        self._merger = AdapterMerger(
            module.bank.layout, self._store, start, self.merge, asked.documents
        )
        self._check_lengths(module)
        steering = module.steering_settings
        self._generation = steering if module.decoding == "base" else {}
        if self._reports:
            say_generation(steering, module.decoding == "base")
        self._records = AnswerLog[Any](Answer if self._stage == "predict" else Prediction)
        self._scores = EvaluationScores()
        self._start = time.monotonic()
        self._part(trainer.global_rank).unlink(missing_ok=True)

    def _check_lengths(self, module: ParametricRAG) -> None:
        """Reject prompts that leave no room for an answer, before any is answered."""
        limit = module.abilities.max_tokens
        if limit is None:
            return
        most = limit - module.max_new_tokens
        for loader in self._data.question_loaders(self._stage):
            batches = cast(Sequence[QuestionBatch], loader.dataset)
            # The longest are in the last batch.
            last = batches[len(batches) - 1]
            longest = last.input_ids.shape[1]
            if longest > most:
                raise ValueError(
                    f"a prompt of '{last.method}' has {longest} tokens, and its answer may have "
                    f"{module.max_new_tokens}, but '{module.base_name}' reads at most {limit}; "
                    f"give --data.max_tokens {most}"
                )

    def _close(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    # ---------------------------------------------------------------- batch by batch

    def on_test_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Read the batch's adapters, and route every row to its own."""
        self._batch_start = time.monotonic()
        module = cast(ParametricRAG, pl_module)
        with trainer.precision_plugin.forward_context():
            self._merges, route = self._merger.merge(
                batch,
                self._merger.choose_all(batch),
                module.first_token_entropy,
                noise=batch.method == "random",
            )
        self._check_missing(self._merges)
        module.use_route(route)

    on_predict_batch_start = on_validation_batch_start = on_test_batch_start

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Score the answers."""
        predictions = self._score(trainer, batch, outputs)
        self._scores.update(predictions)
        if trainer.world_size == 1:
            # Lightning computes each at the end of the method's questions.
            for name, metric in self._scores.metrics_of(batch.method).items():
                pl_module.log(
                    name,
                    metric,
                    on_step=False,
                    on_epoch=True,
                    add_dataloader_idx=False,
                    metric_attribute=name,
                    batch_size=len(batch.questions),
                )

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Score the answers to questions whose documents are encoded so far."""
        encoded = [not merge.missing for merge in self._merges]
        predictions = self._score(trainer, batch, outputs)
        self._scores.update([p for p, yes in zip(predictions, encoded, strict=True) if yes])

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the answers."""
        self._records.add(self._answers(batch, outputs))

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """If several processes answered, log the scores over all their questions."""
        if trainer.world_size > 1:
            self._gather(trainer, Prediction)
            self._scores = EvaluationScores()
            for predictions in self._records.batches():
                self._scores.update(predictions)
            pl_module.log_dict(self._scores.means())

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the scores so far."""
        means = self._scores.means()
        pl_module.log_dict({f"val/{name}": mean for name, mean in means.items()}, sync_dist=False)

    def _answers(self, batch: QuestionBatch, outputs: Any) -> list[Answer]:
        template = self._data.encoder.template
        texts = cast(Answers, outputs).texts
        mark = template.answer_mark if template.reasons else None
        return answers_with_evidence(batch, self._merges, texts, self.scoring, mark)

    def _score(self, trainer: Trainer, batch: QuestionBatch, outputs: Any) -> list[Prediction]:
        nll = cast(Answers, outputs).nll.tolist()
        elapsed = time.monotonic() - self._batch_start
        seconds = elapsed / len(batch.questions) / trainer.world_size
        rows = zip(self._answers(batch, outputs), batch.questions, nll, batch.counted, strict=True)
        predictions = [
            score_answer(answer, question, value, seconds, counts, self.scoring)
            for answer, question, value, counts in rows
        ]
        self._records.add(predictions)
        return predictions

    def _check_missing(self, merges: Sequence[Merge]) -> None:
        missing = [found for merge in merges for found in merge.missing]
        if missing and self.on_missing == "error" and self._stage != "validate":
            raise ValueError(
                f"document '{missing[0].document_id}' was retrieved but has no adapter of its text "
                "as it is now; encode it with `prag fit`, or leave such documents out with "
                "--evaluation.on_missing skip"
            )

    # ---------------------------------------------------------------- several processes

    def _part(self, rank: int) -> Path:
        """Return the file through which a process passes its records to the first one."""
        run = digest_text(current_run_id())[:16]
        return self._root / f".{self._stage}.{run}.{rank}.jsonl"

    def _gather(self, trainer: Trainer, record_type: type[AnswerT]) -> None:
        """Gather all processes' records on the first, through files: there is no process group.

        Raises:
            LostProcessError: If another process ended before it wrote its records.
        """
        if trainer.world_size == 1:
            return
        write_records(self._part(trainer.global_rank), self._records)
        if not trainer.is_global_zero:
            return
        files = [self._part(rank) for rank in range(trainer.world_size)]
        check = cast(PerDocumentStrategy, trainer.strategy).check_processes
        patience = max(PATIENCE, time.monotonic() - self._start)
        for file in files:
            wait_for_file(file, patience, check)
        order = [str(name) for name in self._data.question_set(self._stage).methods]
        parts = [read_records(file, record_type) for file in files]
        in_order = heapq.merge(*parts, key=lambda record: order.index(record.method))
        self._records = AnswerLog(record_type, in_order)
        for file in files:
            file.unlink()
