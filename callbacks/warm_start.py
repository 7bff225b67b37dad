"""When a document begins in a slot: the warm start goes in, the slot's optimizer state goes out."""

from typing import Any, cast

from lightning import Callback, LightningModule, Trainer

from prag_lightning.adapters.warm_start import RANDOM, WarmStartSource
from prag_lightning.module import ParametricRAG


class WarmStart(Callback):
    """Starts every document's training from one and the same adapter.

    Args:
        path: Folder of that adapter in PEFT's format; ``random`` is an untrained one.
        seed: Seed of the untrained one.
    """

    def __init__(self, path: str = RANDOM, seed: int = 0) -> None:
        self.source = WarmStartSource(path, seed)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Hand it to the module, for the warm start is part of a recipe and of a merge."""
        cast(ParametricRAG, pl_module).use_warm_start(self.source)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Read the warm start."""
        self._row = cast(ParametricRAG, pl_module).warm_start_row().to(pl_module.device)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Put the warm start into the slots where a document begins."""
        cast(ParametricRAG, pl_module).start_documents(batch.begins, self._row)
