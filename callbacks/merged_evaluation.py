"""Around a batch of questions: their documents' adapters in, the answers' scores out."""

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any, Literal, cast

import torch
from lightning import Callback, LightningModule, Trainer
from pydantic import PositiveFloat
from rich.console import Console
from torch import Tensor

from prag_lightning.adapters.bank import Route
from prag_lightning.adapters.layout import AdapterLayout
from prag_lightning.adapters.merge import MergeRule, MergeWeights, merge_weights
from prag_lightning.adapters.store import AdapterStore, open_store
from prag_lightning.answering import Answers
from prag_lightning.data.batches import QuestionBatch
from prag_lightning.data.datamodule import DocumentDataModule
from prag_lightning.data.documents import read_records, write_records
from prag_lightning.data.questions import METHODS
from prag_lightning.metrics import Scoring
from prag_lightning.module import ParametricRAG
from prag_lightning.retrieval.base import RetrievedDocument
from prag_lightning.scores import Evidence, Prediction, predict, score_table, summarize
from prag_lightning.strategies import PATIENCE, PerDocumentStrategy, wait_for_file


class MergedEvaluation(Callback):
    """Answers every question with the merged adapters of its documents, and scores the answers.

    Writes ``predictions.jsonl`` and ``scores.json`` under the run's root folder.

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
        module = cast(ParametricRAG, pl_module)
        data = cast(DocumentDataModule, cast(Any, trainer).datamodule)
        # A part that an earlier run left behind must not be taken for this run's.
        part = Path(trainer.default_root_dir) / f"predictions.{trainer.global_rank}.jsonl"
        part.unlink(missing_ok=True)
        self._store: AdapterStore | None = None
        if data.needs_adapters:
            self._store = open_store(module.store_dir, module.recipe(data), mode="read")
        self._warm_start = module.warm_start_row().to(module.device)
        self._predictions: list[Prediction] = []
        self._start = time.monotonic()
        self._num_missing: Counter[str] = Counter()

    def on_test_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Load the batch's adapters, and route every row to its own."""
        self._batch_start = time.monotonic()
        module = cast(ParametricRAG, pl_module)
        self._merges = self._choose(batch)
        self._routed = module.bank.routed(self._load(module, batch))
        self._routed.__enter__()

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
        answers = cast(Answers, outputs)
        nll = answers.nll.tolist()
        elapsed = time.monotonic() - self._batch_start
        seconds = elapsed / len(batch.questions) / trainer.world_size
        for row, question in enumerate(batch.questions):
            documents, weights = self._merges[row]
            adapters = [
                Evidence(document_id=found.document_id, score=found.score, weight=weight)
                for found, weight in zip(documents, weights.documents, strict=True)
            ]
            passages = [
                Evidence(document_id=found.document_id, score=found.score)
                for found in batch.passages[row]
            ]
            text = answers.texts[row]
            self._predictions.append(
                predict(
                    batch.method,
                    question,
                    text,
                    nll[row],
                    seconds,
                    self.scoring,
                    passages,
                    adapters,
                )
            )

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write predictions and scores, and print the scores."""
        root = Path(trainer.default_root_dir)
        predictions = self._gather(trainer, root)
        if not trainer.is_global_zero:
            return
        scores = summarize(predictions)
        write_records(root / "predictions.jsonl", predictions)
        rows = [score.model_dump(exclude_none=True) for score in scores]
        (root / "scores.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        console = Console()
        console.print(score_table(scores))
        for method, count in (+self._num_missing).items():
            console.print(f"{method}: {count} retrieved documents had no adapter and were left out")
        console.print(f"predictions and scores are in {root}")

    def _gather(self, trainer: Trainer, root: Path) -> list[Prediction]:
        """Return the predictions of all processes; they meet in files, for nothing else joins them.

        Raises:
            LostProcessError: If another process ended before it wrote its own.
        """
        if trainer.world_size == 1:
            return self._predictions
        write_records(root / f"predictions.{trainer.global_rank}.jsonl", self._predictions)
        if not trainer.is_global_zero:
            return []
        files = [root / f"predictions.{rank}.jsonl" for rank in range(trainer.world_size)]
        check = cast(PerDocumentStrategy, trainer.strategy).check_processes
        patience = max(PATIENCE, time.monotonic() - self._start)
        for file in files:
            wait_for_file(file, patience, check)
        predictions = [row for file in files for row in read_records(file, Prediction)]
        for file in files:
            file.unlink()
        order = [str(name) for name in METHODS]
        return sorted(predictions, key=lambda prediction: order.index(prediction.method))

    def _choose(self, batch: QuestionBatch) -> list[tuple[list[RetrievedDocument], MergeWeights]]:
        """Return for each row the documents that have adapters, and how they are weighted."""
        merges = []
        for documents in batch.adapters:
            present = [found for found in documents if self._is_present(found.document_id)]
            self._num_missing[batch.method] += len(documents) - len(present)
            scores = [found.score for found in present]
            merges.append((present, merge_weights(self.merge, scores, self.temperature)))
        return merges

    def _is_present(self, document_id: str) -> bool:
        assert self._store is not None
        if document_id in self._store:
            return True
        if self.on_missing == "error":
            raise ValueError(
                f"document '{document_id}' was retrieved but has no adapter; encode it with "
                "`prag fit`, or leave such documents out with --evaluation.on_missing skip"
            )
        return False

    def _load(self, module: ParametricRAG, batch: QuestionBatch) -> Route:
        """Put the batch's distinct adapters into the bank, the warm start into its first slot."""
        ids = sorted({found.document_id for documents, _ in self._merges for found in documents})
        bank = module.bank
        if bank.num_slots < len(ids) + 1:
            bank.resize(len(ids) + 1)
        bank.load(0, self._warm_start)
        if ids:
            assert self._store is not None
            adapters = self._store.get_many(ids)
            if batch.method == "random":
                adapters = noise_like(adapters, bank.layout)
            for slot, row in enumerate(adapters, start=1):
                bank.load(slot, row)
        slot_of = {document_id: slot for slot, document_id in enumerate(ids, start=1)}
        width = 1 + max(len(documents) for documents, _ in self._merges)
        slots = torch.zeros(len(self._merges), width, dtype=torch.long)
        weights = torch.zeros(len(self._merges), width)
        for row, (documents, merge) in enumerate(self._merges):
            places = [slot_of[found.document_id] for found in documents]
            slots[row, 1 : 1 + len(places)] = torch.tensor(places, dtype=torch.long)
            weights[row, : 1 + len(places)] = torch.tensor([merge.warm_start, *merge.documents])
        return Route(slots.to(module.device), weights.to(module.device))


def noise_like(adapters: Tensor, layout: AdapterLayout) -> Tensor:
    """Return noise whose every matrix has the norm of the adapter's: size without knowledge.

    Args:
        adapters: Shape ``(n, num_params)``.
        layout: Of one adapter.

    Returns:
        Shape of ``adapters``; the same for the same number of adapters.
    """
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(adapters.shape, generator=generator)
    for matrix in layout.matrices:
        part = slice(matrix.start, matrix.stop)
        norms = adapters[:, part].norm(dim=1, keepdim=True)
        noise[:, part] *= norms / noise[:, part].norm(dim=1, keepdim=True)
    return noise
