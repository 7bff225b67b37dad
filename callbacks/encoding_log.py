"""Writes losses and costs of an encoding to the run's folder and to loggers."""

import math
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from prag_lightning import __version__
from prag_lightning.encoding.records import (
    LOSSES_FILE,
    SUMMARY_FILE,
    DocumentLosses,
    FitSummary,
    append_records,
)
from prag_lightning.module import ParametricRAG


class _Step(NamedTuple):
    """One step's losses, still on the device, their documents, and which of them it ended."""

    losses: Tensor
    documents: list[str]
    ends: list[str]


class EncodingLog(Callback):
    """Writes ``losses.jsonl`` and ``fit.jsonl`` in the run's root folder, and logs their content.

    Any Lightning logger gets ``loss``, ``loss_first``, ``loss_last``, ``documents``,
    ``documents_per_second``, ``tokens_per_second``, ``padding`` and ``memory_mib``. Every run in
    that folder appends to both files. Losses are written when their document is finished; on a GPU
    only every ``log_every_n_steps`` steps of the Trainer, to avoid synchronization. List it before
    `AdapterWriter`, so that a killed run leaves no adapter without its losses.
    """

    def __init__(self) -> None:
        self._waiting: list[_Step] = []
        self._num_steps = 0
        # Losses since metrics were last logged.
        self._new_losses: list[float | None] = []
        self._new_documents: list[DocumentLosses] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        if pl_module.device.type == "cuda":
            # Exclude the trials of `SlotFinder`.
            torch.cuda.reset_peak_memory_stats(pl_module.device)
        self._losses: defaultdict[str, list[float | None]] = defaultdict(list)
        self._num_documents = 0
        # Tokens without and with padding: now, and when metrics were last logged.
        self._tokens = self._tokens_before = (0, 0)
        self._started = datetime.now(timezone.utc)
        self._start = self._last = time.monotonic()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Keep the losses, and log them every ``log_every_n_steps`` steps."""
        documents = [batch.documents[slot] for slot in batch.slots]
        self._waiting.append(_Step(outputs["loss"], documents, list(batch.ends.values())))
        self._num_steps += 1
        used, places = self._tokens
        self._tokens = used + batch.num_tokens, places + batch.num_places
        every = cast(Any, trainer).log_every_n_steps
        if batch.ends and pl_module.device.type == "cpu":
            self._write(trainer)
        if every and self._num_steps % every == 0:
            metrics = self._pass_on(trainer, pl_module.device)
            pl_module.log_dict(metrics, on_step=True, on_epoch=False)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the metrics of the last steps."""
        pl_module.log_dict(self._pass_on(trainer, pl_module.device))

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the cost of the run, once all adapters are on the disk."""
        self._finish(trainer, cast(ParametricRAG, pl_module), complete=True)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Write the cost of the run so far."""
        # On a full disk this fails as well, and the adapters' error is more informative.
        with suppress(OSError):
            self._finish(trainer, cast(ParametricRAG, pl_module), complete=False)

    def _finish(self, trainer: Trainer, module: ParametricRAG, complete: bool) -> None:
        if not self._num_steps:
            return
        self._pass_on(trainer, module.device)
        seconds = time.monotonic() - self._start
        summary = FitSummary(
            started=self._started.isoformat(timespec="seconds"),
            complete=complete,
            process=trainer.global_rank,
            num_processes=trainer.world_size,
            device=_device_name(module.device),
            num_slots=module.bank.num_slots,
            num_documents=self._num_documents,
            num_steps=self._num_steps,
            num_tokens=self._tokens[0],
            padding=1 - self._tokens[0] / self._tokens[1],
            seconds=round(seconds, 3),
            documents_per_second=self._num_documents / seconds,
            peak_memory=_peak_memory(module.device),
            version=__version__,
        )
        append_records(Path(trainer.default_root_dir) / SUMMARY_FILE, [summary])
        self._num_steps = 0

    def _pass_on(self, trainer: Trainer, device: torch.device) -> dict[str, float]:
        """Write the losses of finished documents, and return the metrics to log."""
        self._write(trainer)
        if not self._new_losses:
            return {}
        metrics = self._metrics(self._new_losses, self._new_documents, device)
        self._new_losses, self._new_documents = [], []
        return metrics

    def _write(self, trainer: Trainer) -> None:
        """Write the losses of finished documents."""
        if not self._waiting:
            return
        losses = [_rounded(x) for x in torch.cat([s.losses for s in self._waiting]).tolist()]
        unread, done = iter(losses), list[DocumentLosses]()
        for step in self._waiting:
            for name in step.documents:
                self._losses[name].append(next(unread))
            done += (
                DocumentLosses(document_id=name, losses=self._losses.pop(name))
                for name in step.ends
            )
        self._waiting.clear()
        self._num_documents += len(done)
        append_records(Path(trainer.default_root_dir) / LOSSES_FILE, done)
        self._new_losses += losses
        self._new_documents += done

    def _metrics(
        self, losses: Sequence[float | None], done: Sequence[DocumentLosses], device: torch.device
    ) -> dict[str, float]:
        now = time.monotonic()
        used, places = (a - b for a, b in zip(self._tokens, self._tokens_before, strict=True))
        metrics = {
            "loss": _mean(losses),
            "loss_first": _mean([document.losses[0] for document in done]),
            "loss_last": _mean([document.losses[-1] for document in done]),
            "documents": float(self._num_documents),
            "documents_per_second": self._num_documents / (now - self._start),
            "tokens_per_second": used / (now - self._last),
            "padding": 1 - used / places,
            "memory_mib": _peak_memory(device) / 2**20,
        }
        self._last, self._tokens_before = now, self._tokens
        return {name: value for name, value in metrics.items() if not math.isnan(value)}


def _rounded(loss: float) -> float | None:
    """Return a loss with five digits, for a file; None if it is not finite."""
    return float(f"{loss:.5g}") if math.isfinite(loss) else None


def _mean(losses: Sequence[float | None]) -> float:
    """Return the mean of the finite losses; NaN if there are none."""
    known = [loss for loss in losses if loss is not None]
    return sum(known) / len(known) if known else math.nan


def _peak_memory(device: torch.device) -> int:
    """Return the peak memory in bytes: of the GPU, or resident in this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    # Kilobytes, but bytes on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{device.type}, {threads} thread{'s' if threads > 1 else ''}"
