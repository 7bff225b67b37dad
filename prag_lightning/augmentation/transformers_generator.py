"""Augmentation by a local model, in batches, in Lightning's predict loop."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, astuple
from datetime import timedelta
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.utils.data import DataLoader

from prag_lightning.augmentation.draft import Draft, Outcome, Usage
from prag_lightning.augmentation.outcome_files import Settings
from prag_lightning.augmentation.settings import Order, Sampling
from prag_lightning.augmentation.text_generator import TextGenerator
from prag_lightning.documents.records import Document
from prag_lightning.language_model.base_model import Dtype, load_base, load_tokenizer


class AugmentingModule(LightningModule):
    """Predicts the outcomes of documents, those of one rank in each process.

    Args:
        model: Hub name or folder of a causal language model; ``demo`` is the embedded one.
        dtype: Of its weights.
        documents: Those of all ranks.
        batch_size: How many are augmented at a time.
        order: What is wanted of every document.
        sampling: How answers are drawn.
    """

    # A rank may have no documents.
    allow_zero_length_dataloader_with_multiple_devices = True

    def __init__(
        self,
        model: str,
        dtype: Dtype,
        documents: Sequence[Document],
        batch_size: int,
        order: Order,
        sampling: Sampling,
    ) -> None:
        super().__init__()
        self._model_name = model
        self._weights_dtype = dtype
        self._documents = documents
        self._batch_size = batch_size
        self._order = order
        self._sampling = sampling

    def configure_model(self) -> None:
        """Load the language model."""
        self.base = load_base(self._model_name, dtype=self._weights_dtype)
        tokenizer = load_tokenizer(self._model_name)
        self._generator = TextGenerator(self.base, tokenizer, self._sampling)

    def predict_dataloader(self) -> DataLoader[Document]:
        """Return this rank's documents, those of like length together."""
        rank, num_ranks = self.trainer.global_rank, self.trainer.world_size
        own = [d for d in self._documents if _rank_of(d.id, num_ranks) == rank]
        own.sort(key=lambda document: len(document.text))
        return DataLoader(cast(Any, own), batch_size=self._batch_size, collate_fn=list)

    def predict_step(self, batch: list[Document], batch_idx: int) -> list[Outcome]:
        """Return the outcome of each document, after asking again what was answered badly."""
        drafts = [Draft(document, self._order) for document in batch]
        while asked := [(draft, request) for draft in drafts for request in draft.requests]:
            # Lightning's predict loop takes no notice of it.
            if self.trainer.received_sigterm:
                raise SIGTERMException
            replies = self._generator.answer([request for _, request in asked])
            for (draft, request), reply in zip(asked, replies, strict=True):
                draft.accept(request, reply)
        return [draft.outcome for draft in drafts]


class _Delivery(Callback):
    """Hands over what was predicted, batch by batch, and adds up what it took on all ranks."""

    def __init__(self, deliver: Callable[[Outcome], None]) -> None:
        self._deliver = deliver
        self.usage = Usage()

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: list[Outcome],
        batch: list[Document],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        for outcome in outputs:
            self._deliver(outcome)
            self.usage += outcome.usage

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        counts = torch.tensor(astuple(self.usage), device=pl_module.device)
        self.usage = Usage(*trainer.strategy.reduce(counts, reduce_op="sum").tolist())


class TransformersGenerator:
    """Asks a local language model about a batch of documents at a time.

    Args:
        model: Hub name or folder of a causal language model; ``demo`` is the embedded one.
        order: What is wanted of every document.
        sampling: How answers are drawn.
        batch_size: Documents at a time on each device.
        devices: How many devices, each with a copy of the model and its own documents.
        dtype: Of the weights; ``auto`` keeps that of the files.
    """

    def __init__(
        self,
        model: str,
        order: Order,
        sampling: Sampling,
        batch_size: int,
        devices: int,
        dtype: Dtype,
    ) -> None:
        for name, value in {"batch_size": batch_size, "devices": devices}.items():
            if value < 1:
                raise ValueError(f"{name} {value}: give at least 1")
        self._model = model
        self._order = order
        self._sampling = sampling
        self._batch_size = batch_size
        self._devices = devices
        self._dtype = dtype
        self.max_attempts = order.max_attempts

    @property
    def settings(self) -> Settings:
        """Everything on which the augmentations depend."""
        return {
            "generator": "transformers",
            "model": self._model,
            "dtype": self._dtype,
            **self._order.settings,
            **asdict(self._sampling),
        }

    def augment(self, documents: Sequence[Document], deliver: Callable[[Outcome], None]) -> Usage:
        """Call ``deliver`` with the outcome of each of this rank's documents, batch by batch.

        Returns:
            What it took, on all ranks together.

        Raises:
            FileNotFoundError: If there is no such model.
        """
        module = AugmentingModule(
            self._model, self._dtype, documents, self._batch_size, self._order, self._sampling
        )
        delivery = _Delivery(deliver)
        trainer = Trainer(
            devices=self._devices,
            # No gradient is exchanged here: the ranks meet at the end, however late the last is.
            strategy=DDPStrategy(timeout=timedelta(days=30)) if self._devices > 1 else "auto",
            callbacks=[delivery],
            use_distributed_sampler=False,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        try:
            trainer.predict(module, return_predictions=False)
        except SystemExit as stop:
            # What Lightning makes of Ctrl-C.
            if isinstance(stop.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt from stop
            raise
        return delivery.usage


def _rank_of(document_id: str, num_ranks: int) -> int:
    """Return the rank that augments a document."""
    return int.from_bytes(hashlib.sha256(document_id.encode()).digest()[:8], "big") % num_ranks
