"""Encodes block after block of documents in one process, over a base that is loaded once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import lightning as L
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment

from prag_lightning.adapters.store.records import Receipt
from prag_lightning.callbacks.adapter_writer import AdapterWriter
from prag_lightning.callbacks.slot_finder import SlotFinder
from prag_lightning.datamodule import DocumentDataModule
from prag_lightning.encoding.plan import EncodingTask
from prag_lightning.module import ParametricRAG

_QUIET: dict[str, Any] = {
    "max_epochs": 1,
    "logger": False,
    "enable_checkpointing": False,
    "enable_model_summary": False,
    "enable_progress_bar": False,
}


class EncodingParts(NamedTuple):
    """What a process needs to encode documents, besides the documents; without any weights.

    Args:
        module: The module, whose base is not loaded.
        data: The data module, for its settings.
        callbacks: The callbacks, an `AdapterWriter` among them.
        trainer: Settings of the Trainer.
        seed: Seed of all random numbers.
    """

    module: ParametricRAG
    data: DocumentDataModule
    callbacks: list[L.Callback]
    trainer: dict[str, Any]
    seed: int = 0


@dataclass
class BlockResult:
    """What became of the documents of a block.

    Args:
        receipts: Where the adapters are.
        failures: Why documents have no adapter, by id.
        lengths: Documents whose prompts are too long, by what was done about it.
    """

    receipts: list[Receipt] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    lengths: dict[str, set[str]] = field(default_factory=dict)

    def add(self, other: "BlockResult") -> None:
        """Add the documents of another block."""
        self.receipts += other.receipts
        self.failures |= other.failures
        for what, documents in other.lengths.items():
            self.lengths.setdefault(what, set()).update(documents)


class BlockEncoder:
    """Encodes blocks as a local run does, with one ``Trainer.fit`` for each.

    The base stays loaded from one block to the next, and the store open.

    Args:
        parts: Module, data module and callbacks.
        num_threads: Threads of this process.

    Raises:
        ValueError: If there is not exactly one `AdapterWriter` among the callbacks.
    """

    def __init__(self, parts: EncodingParts, num_threads: int) -> None:
        torch.set_num_threads(num_threads)
        L.seed_everything(parts.seed, workers=True, verbose=False)
        self._parts = parts
        self._writer = find_writer(parts.callbacks)
        self._writer.stay_open()
        # Whether the settings have been accepted.
        self._has_begun = False
        # Documents of the largest block so far.
        self._most = 0

    def encode(self, tasks: Sequence[EncodingTask]) -> BlockResult:
        """Encode documents, and return what became of each.

        If a document makes it fail, the documents are encoded one by one, and that one is reported.

        Raises:
            OSError: If the store cannot be written.
            ValueError: If the settings are wrong.
            Exception: Whatever prevents every single document from being encoded.
        """
        try:
            return self._fit(tasks)
        except OSError:
            raise
        except Exception as error:
            if not self._has_begun:
                raise
            if len(tasks) == 1:
                return BlockResult(failures={tasks[0].document_id: _reason(error)})
            result = BlockResult()
            for task in tasks:
                result.add(self.encode([task]))
            if not result.receipts:
                # It is not the documents.
                raise
            return result

    def close(self) -> None:
        """Close the store."""
        self._writer.close()

    def _fit(self, tasks: Sequence[EncodingTask]) -> BlockResult:
        module, data, callbacks, settings, _ = self._parts
        if self._most and len(tasks) <= self._most:
            # The number of slots is known from a block that was at least as large.
            callbacks = [each for each in callbacks if not isinstance(each, SlotFinder)]
            data.set_num_slots(module.bank.num_slots)
        after = 1 + callbacks.index(self._writer)
        callbacks = [*callbacks[:after], _Begun(self._begin), *callbacks[after:]]
        # By itself, Lightning would wait for the other tasks of a job in which a cluster runs.
        alone = {"devices": 1, "plugins": [LightningEnvironment()]}
        trainer = L.Trainer(**_QUIET | settings | alone, callbacks=callbacks)
        trainer.fit(module, data.of_tasks(tasks))
        self._most = max(self._most, len(tasks))
        outcome, failures = self._writer.outcome, dict(self._writer.failures)
        assert outcome is not None
        # A document that failed may have an adapter of an earlier text.
        ids = [task.document_id for task in tasks if task.document_id not in failures]
        lengths = {what: set(documents) for what, documents in outcome.lengths.items()}
        return BlockResult(self._writer.receipts(ids), failures, lengths)

    def _begin(self) -> None:
        self._has_begun = True


class _Begun(L.Callback):
    """Tells that the callbacks before it have accepted the settings."""

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell = tell

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._tell()


def find_writer(callbacks: Sequence[L.Callback]) -> AdapterWriter:
    """Return the `AdapterWriter` among some callbacks.

    Raises:
        ValueError: If there is none, or several.
    """
    writers = [callback for callback in callbacks if isinstance(callback, AdapterWriter)]
    if len(writers) != 1:
        raise ValueError(
            f"there are {len(writers)} AdapterWriters among the callbacks; give one, which stores "
            "the adapters"
        )
    return writers[0]


def _reason(error: Exception) -> str:
    """Return an error in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
