"""Sets a slot to the warm start and resets its optimizer state when a document begins."""

from typing import Any, cast

from lightning import Callback, LightningModule, Trainer

from prag_lightning.adapters.warm_start import RANDOM, WarmStartSource
from prag_lightning.module import ParametricRAG


class WarmStart(Callback):
    """Starts every document's training from the same adapter.

    Args:
        path: Folder of that adapter in PEFT's format; ``random`` for an untrained one.
        seed: Seed of the untrained adapter.
    """

    def __init__(self, path: str = RANDOM, seed: int = 0) -> None:
        self.source = WarmStartSource(path, seed)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give it to the module, because the warm start is part of the recipe and of merges."""
        cast(ParametricRAG, pl_module).use_warm_start(self.source)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Read the warm start."""
        self._row = cast(ParametricRAG, pl_module).warm_start_row().to(pl_module.device)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Copy the warm start into the slots where documents begin."""
        cast(ParametricRAG, pl_module).start_documents(batch.begins, self._row)
