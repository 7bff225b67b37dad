"""Loads adapters of an earlier run, beside which documents are trained."""

import hashlib
from typing import Any, cast

from lightning import Callback, LightningModule, Trainer

from prag_lightning.encoding.strangers import Strangers
from prag_lightning.module import ParametricRAG


class TrainWithStrangers(Callback):
    """Trains adapters beside frozen adapters of other documents.

    A merge combines an adapter with those of irrelevant documents; training with such strangers
    makes it robust to them (arXiv:2606.04557). They come from a finished run over the same base,
    with the same LoRA settings and warm start. List it before `AdapterWriter`, because it is part
    of the recipe.

    Args:
        store: Folder of their adapters.
        probability: Share of a document's steps that have strangers.
        most: Such a step has 1 to this many strangers.
        num_strangers: Number of adapters held in memory to draw from.
        seed: Seed of the draws.

    Raises:
        ValueError: If a number is out of range.
    """

    def __init__(
        self,
        store: str,
        probability: float = 0.5,
        most: int = 2,
        num_strangers: int = 32,
        seed: int = 0,
    ) -> None:
        if not 0 < probability <= 1:
            raise ValueError(f"probability is {probability}; give a share above 0 and at most 1")
        if not 1 <= most < num_strangers:
            raise ValueError(
                f"most is {most}, of {num_strangers} strangers; give at least 1, and more strangers"
            )
        self.store = store
        self.probability = probability
        self.most = most
        self.num_strangers = num_strangers
        self.seed = seed

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Read the adapters, and give them to the module.

        Raises:
            FileNotFoundError: If there is no such store.
            ValueError: If it has too few adapters, or they are of another recipe.
        """
        module = cast(ParametricRAG, pl_module)
        encoder = cast(Any, trainer).datamodule.training_encoder
        with module.open_store(encoder, self.store) as store:
            # Independent of the order in which they were stored.
            ids = sorted(store.ids(), key=lambda name: hashlib.sha256(name.encode()).digest())
            if len(ids) <= self.most:
                raise ValueError(
                    f"{self.store}: holds {len(ids)} adapters, too few to draw {self.most} "
                    "strangers from; encode more documents there, or lower 'most'"
                )
            ids = ids[: self.num_strangers]
            rows = store.get_many(ids).to(module.device)
        warm_start = module.warm_start_row().to(module.device)
        company = Strangers(ids, rows, warm_start, self.probability, self.most, self.seed)
        module.use_strangers(company)
        print(f"{len(ids)} strangers from {self.store} in {self.probability:.0%} of the steps")
