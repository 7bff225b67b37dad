"""Encodes block after block of documents in one process, over a base that is loaded once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import lightning as L

from prag_lightning.adapters.store.records import Receipt
from prag_lightning.callbacks.adapter_writer import AdapterWriter
from prag_lightning.callbacks.slot_finder import SlotFinder
from prag_lightning.clusters.block_worker import BlockWorker
from prag_lightning.clusters.worker_parts import WorkerParts, find_callback
from prag_lightning.encoding.plan import EncodingTask


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


class BlockEncoder(BlockWorker[EncodingTask, BlockResult]):
    """Encodes blocks as a local run does, with one ``Trainer.fit`` for each.

    The base stays loaded from one block to the next, and the store open.

    Args:
        parts: Module, data module and callbacks.

    Raises:
        ValueError: If there is not exactly one `AdapterWriter` among the callbacks.
    """

    def __init__(self, parts: WorkerParts) -> None:
        L.seed_everything(parts.seed, workers=True, verbose=False)
        self._parts = parts
        self._writer = find_callback(parts.callbacks, AdapterWriter)
        self._writer.stay_open()
        # Documents of the largest block so far.
        self._most = 0

    def do(self, tasks: Sequence[EncodingTask]) -> BlockResult:
        """Encode documents, and return what became of each."""
        module, data, callbacks = self._parts.module, self._parts.data, self._parts.callbacks
        if self._most and len(tasks) <= self._most:
            # The number of slots is known from a block that was at least as large.
            callbacks = [each for each in callbacks if not isinstance(each, SlotFinder)]
            data.set_num_slots(module.bank.num_slots)
        after = 1 + callbacks.index(self._writer)
        callbacks = [*callbacks[:after], _Begun(self._begin), *callbacks[after:]]
        self._parts.make_trainer(callbacks).fit(module, data.of_tasks(tasks))
        self._most = max(self._most, len(tasks))
        outcome, failures = self._writer.outcome, dict(self._writer.failures)
        assert outcome is not None
        # A document that failed may have an adapter of an earlier text.
        ids = [task.document_id for task in tasks if task.document_id not in failures]
        lengths = {what: set(documents) for what, documents in outcome.lengths.items()}
        return BlockResult(self._writer.receipts(ids), failures, lengths)

    def fail(self, task: EncodingTask, reason: str) -> BlockResult:
        """Return the failure of a document.

        Args:
            task: The document.
            reason: Why it failed.
        """
        return BlockResult(failures={task.document_id: reason})

    def close(self) -> None:
        """Close the store."""
        self._writer.close()

    def _begin(self) -> None:
        self.has_begun = True


class _Begun(L.Callback):
    """Tells that the callbacks before it have accepted the settings."""

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell = tell

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._tell()
