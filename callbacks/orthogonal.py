"""Loads a task adapter, to which documents' adapters are kept orthogonal."""

import math
from typing import cast

from lightning import Callback, LightningModule, Trainer

from prag_lightning.adapters.warm_start import adds_nothing
from prag_lightning.encoding.orthogonal import TaskDirections
from prag_lightning.language_model.merged_base import read_adapter_for
from prag_lightning.module import ParametricRAG


class OrthogonalToTask(Callback):
    """Keeps documents' adapters orthogonal to a task adapter (arXiv:2604.26768).

    The task adapter has learned from questions about other documents how to answer, and is merged
    into the base (``prag base merge``); documents' adapters then read no input direction that it
    reads. List it before `AdapterWriter`, because it is part of the recipe.

    Args:
        adapter: Folder of the task adapter in PEFT's format, such as a warm start's. Its rank may
            differ from the documents'.
        weight: Weight of a penalty on what both read, ``sum_m |task_A @ lora_A^T|_F^2``; by default
            ``lora_A`` is projected after every step, so that it is 0. Reported losses do not
            contain the penalty.

    Raises:
        ValueError: If the weight is not above 0.
    """

    def __init__(self, adapter: str, weight: float | None = None) -> None:
        if weight is not None and not 0 < weight < math.inf:
            raise ValueError(
                f"weight is {weight}; give a number above 0, or leave it out to project adapters"
            )
        self.adapter = adapter
        self.weight = weight

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Read the task adapter, and give its directions to the module.

        Raises:
            FileNotFoundError: If there is no such adapter.
            ValueError: If it adapts none of the documents' modules, or a trained warm start would
                be projected.
        """
        module = cast(ParametricRAG, pl_module)
        assert module.base is not None
        layout = module.bank.layout
        if self.weight is None and not adds_nothing(module.warm_start_row(), layout):
            raise ValueError(
                "the warm start is trained, and would be projected in every document but not where "
                "merges count it once; merge it into the base with `prag base merge` and start "
                "from 'random', or give OrthogonalToTask a weight"
            )
        theirs, row = read_adapter_for(module.base, self.adapter)
        ours = {matrix.key for matrix in layout.matrices}
        task_A = {
            key: matrix.to(module.bank.weight)
            for key, matrix in theirs.split(row).items()
            if key in ours and ".lora_A." in key
        }
        if not task_A:
            raise ValueError(
                f"{self.adapter}: adapts none of the documents' modules "
                f"({', '.join(module.lora.target_modules)})"
            )
        module.keep_orthogonal_to(TaskDirections(task_A, layout, self.weight))
        print(f"adapters are kept orthogonal to {self.adapter} in {len(task_A)} modules")
