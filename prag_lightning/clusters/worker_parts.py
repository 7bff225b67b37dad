"""What a worker's Trainer runs with, sent to it without any weights."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import lightning as L
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.strategies import SingleDeviceStrategy

from prag_lightning.datamodule import DocumentDataModule
from prag_lightning.module import ParametricRAG

CallbackT = TypeVar("CallbackT", bound=L.Callback)

_QUIET: dict[str, Any] = {
    "max_epochs": 1,
    "logger": False,
    "enable_checkpointing": False,
    "enable_model_summary": False,
    "enable_progress_bar": False,
}


class WorkerParts(NamedTuple):
    """What a process needs to encode documents or answer questions, besides these.

    Args:
        module: The module, whose base is not loaded.
        data: The data module, for its settings.
        callbacks: The callbacks.
        trainer: Settings of the Trainer, its accelerator among them.
        seed: Seed of all random numbers.
    """

    module: ParametricRAG
    data: DocumentDataModule
    callbacks: list[L.Callback]
    trainer: dict[str, Any]
    seed: int = 0

    def make_trainer(self, callbacks: Sequence[L.Callback]) -> L.Trainer:
        """Return a Trainer for one block, with these callbacks."""
        accelerator = self.trainer["accelerator"]
        if accelerator == "auto":
            accelerator = "gpu" if torch.cuda.is_available() else "cpu"
        device = "cuda:0" if accelerator in ("gpu", "cuda") else "cpu"
        alone = {
            "accelerator": accelerator,
            "devices": 1,
            "strategy": ResidentStrategy(device),
            # By itself, Lightning would wait for the other tasks of a job in which a cluster runs.
            "plugins": [LightningEnvironment()],
        }
        return L.Trainer(**_QUIET | self.trainer | alone, callbacks=list(callbacks))


class ResidentStrategy(SingleDeviceStrategy):
    """Leaves the module on its device at the end of a block, for the next one.

    Lightning's own moves it to the CPU: 16 GB to and fro for each block, with an 8B base.
    """

    def teardown(self) -> None:
        """Free what belongs to the run alone."""
        assert self.accelerator is not None
        self.precision_plugin.teardown()
        self.accelerator.teardown()
        self.checkpoint_io.teardown()


def find_callback(callbacks: Sequence[L.Callback], kind: type[CallbackT]) -> CallbackT:
    """Return the one callback of a kind.

    Args:
        callbacks: The callbacks.
        kind: Its class.

    Raises:
        ValueError: If there is none, or several.
    """
    found = [callback for callback in callbacks if isinstance(callback, kind)]
    if len(found) != 1:
        raise ValueError(
            f"there are {len(found)} callbacks {kind.__name__}; give one, which the run needs"
        )
    return found[0]


def require_no_weights(module: ParametricRAG) -> None:
    """Check that the workers can load the base.

    Raises:
        ValueError: If it is loaded in this process.
    """
    if module.has_weights:
        raise ValueError(
            "the base of the module is loaded; give its hub name or folder; or do without ray, in "
            "this process"
        )
