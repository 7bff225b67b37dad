"""Augmentation with a local model, in batches, using Lightning's predict loop."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple
from datetime import timedelta
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.utils.data import DataLoader

from prag_lightning.augmentation.asking import ModelAugmenter
from prag_lightning.augmentation.base import Listener
from prag_lightning.augmentation.outcomes import Usage
from prag_lightning.augmentation.settings import Order, Sampling, Settings, TemplateSetting
from prag_lightning.augmentation.text_generator import TextGenerator
from prag_lightning.documents.records import Document
from prag_lightning.language_model.base_model import Dtype, load_base, load_tokenizer


class TransformersAugmenter(ModelAugmenter):
    """Augments batches of documents with a local language model.

    Args:
        model: Hub name or folder of a causal language model; ``demo`` is the embedded one.
        order: What to make of each document.
        sampling: Sampling settings.
        batch_size: Number of documents per batch and device.
        devices: Number of devices, each with a copy of the model and its own documents.
        dtype: Dtype of the weights; ``auto`` keeps the one in the files.
        chat_template_kwargs: Variables of the model's chat template, such as ``reasoning_effort``.
            Thinking is always turned off.

    Raises:
        ValueError: If a number is invalid.
    """

    def __init__(
        self,
        model: str = "demo",
        order: Order = Order(),  # noqa: B008 - frozen
        sampling: Sampling = Sampling(),  # noqa: B008 - frozen
        batch_size: int = 16,
        devices: int = 1,
        dtype: Dtype = "auto",
        chat_template_kwargs: Mapping[str, TemplateSetting] | None = None,
    ) -> None:
        super().__init__(order)
        for name, value in {"batch_size": batch_size, "devices": devices}.items():
            if value < 1:
                raise ValueError(f"{name} {value}: give at least 1")
        self.model = model
        self.sampling = sampling
        self.batch_size = batch_size
        self.devices = devices
        self.dtype: Dtype = dtype
        self.template_settings = dict(chat_template_kwargs or {})

    @property
    def settings(self) -> Settings:
        """All settings that the augmentations depend on."""
        return {
            "generator": "transformers",
            "model": self.model,
            "dtype": self.dtype,
            **self.order.settings,
            **asdict(self.sampling),
            **{f"chat_template_kwargs.{k}": v for k, v in self.template_settings.items()},
        }

    def run(self, documents: Sequence[Document], listener: Listener) -> Usage:
        """Augment this rank's documents in batches, and report the outcomes.

        Args:
            documents: Documents of all ranks.
            listener: Receives all answers and outcomes.

        Returns:
            Usage of the language model, summed over all ranks.

        Raises:
            FileNotFoundError: If there is no such model.
        """
        totals = _Totals()
        trainer = Trainer(
            devices=self.devices,
            # Ranks only synchronize at the end, and may have to wait long for the last one.
            strategy=DDPStrategy(timeout=timedelta(days=30)) if self.devices > 1 else "auto",
            callbacks=[totals],
            use_distributed_sampler=False,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        try:
            module = _AugmentingModule(self, documents, listener)
            trainer.predict(module, return_predictions=False)
        except SystemExit as stop:
            # Lightning converts Ctrl-C to its own exception.
            if isinstance(stop.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt from stop
            raise
        return totals.usage


class _AugmentingModule(LightningModule):
    """Augments documents in the predict loop, with those of one rank in each process.

    Args:
        augmenter: The augmenter, with model and settings.
        documents: Documents of all ranks.
        listener: Receives all answers and outcomes.
    """

    # A rank may have no documents.
    allow_zero_length_dataloader_with_multiple_devices = True

    def __init__(
        self, augmenter: TransformersAugmenter, documents: Sequence[Document], listener: Listener
    ) -> None:
        super().__init__()
        self._augmenter = augmenter
        self._documents = documents
        self._listener = listener

    def configure_model(self) -> None:
        """Load the language model."""
        settings = self._augmenter
        self.base = load_base(settings.model, dtype=settings.dtype)
        self._generator = TextGenerator(
            self.base,
            load_tokenizer(settings.model),
            settings.sampling,
            settings.template_settings,
        )

    def predict_dataloader(self) -> DataLoader[Document]:
        """Return this rank's documents, sorted by length."""
        rank, num_ranks = self.trainer.global_rank, self.trainer.world_size
        own = [d for d in self._documents if _rank_of(d.id, num_ranks) == rank]
        own.sort(key=lambda document: len(document.text))
        self._augmenter.announce(own, self._listener)
        return DataLoader(cast(Any, own), batch_size=self._augmenter.batch_size, collate_fn=list)

    def predict_step(self, batch: list[Document], batch_idx: int) -> Usage:
        """Augment documents, repeating requests with useless answers; return the usage.

        Args:
            batch: The documents.
            batch_idx: Ignored.
        """
        drafts = self._augmenter.begin(batch, self._listener)
        while asked := [(draft, request) for draft in drafts for request in draft.requests]:
            # Lightning's predict loop does not check for SIGTERM.
            if self.trainer.received_sigterm:
                raise SIGTERMException
            replies = self._generator.answer([request for _, request in asked])
            for (draft, request), reply in zip(asked, replies, strict=True):
                self._augmenter.take(draft, request, reply, self._listener)
        return sum((draft.outcome.usage for draft in drafts), Usage())


class _Totals(Callback):
    """Adds up the usage on all ranks."""

    def __init__(self) -> None:
        self.usage = Usage()

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Usage,
        batch: list[Document],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self.usage += outputs

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        counts = torch.tensor(astuple(self.usage), device=pl_module.device)
        self.usage = Usage(*trainer.strategy.reduce(counts, reduce_op="sum").tolist())


def _rank_of(document_id: str, num_ranks: int) -> int:
    """Return the rank that augments a document."""
    return int.from_bytes(hashlib.sha256(document_id.encode()).digest()[:8], "big") % num_ranks
