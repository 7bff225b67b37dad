"""What a worker's Trainer runs with, sent to it without any weights."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import lightning as L
from lightning.fabric.plugins.environments.lightning import LightningEnvironment

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
        trainer: Settings of the Trainer.
        seed: Seed of all random numbers.
    """

    module: ParametricRAG
    data: DocumentDataModule
    callbacks: list[L.Callback]
    trainer: dict[str, Any]
    seed: int = 0

    def make_trainer(self, callbacks: Sequence[L.Callback]) -> L.Trainer:
        """Return a Trainer for one block, with these callbacks."""
        # By itself, Lightning would wait for the other tasks of a job in which a cluster runs.
        alone = {"devices": 1, "plugins": [LightningEnvironment()]}
        return L.Trainer(**_QUIET | self.trainer | alone, callbacks=list(callbacks))


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
