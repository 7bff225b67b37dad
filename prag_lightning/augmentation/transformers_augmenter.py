"""Augmentation with a local model, in batches, using Lightning's predict loop."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
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
        self._loaded: TextGenerator | None = None

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
        if self._loaded is not None:
            return self._run_loaded(self._loaded, documents, listener)
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

    def stay_loaded(self, device: str) -> None:
        """Load the model in this process, and keep it from one `run` to the next.

        Args:
            device: ``cuda`` or ``cpu``.

        Raises:
            FileNotFoundError: If there is no such model.
        """
        self._loaded = self.load().to(device)

    def load(self) -> TextGenerator:
        """Return the language model."""
        return TextGenerator(
            load_base(self.model, dtype=self.dtype),
            load_tokenizer(self.model),
            self.sampling,
            self.template_settings,
        )

    def batches(self, documents: Sequence[Document]) -> list[list[Document]]:
        """Return documents in batches of similar lengths."""
        ordered = sorted(documents, key=lambda document: len(document.text))
        starts = range(0, len(ordered), self.batch_size)
        return [ordered[start : start + self.batch_size] for start in starts]

    @torch.inference_mode()
    def _run_loaded(
        self, generator: TextGenerator, documents: Sequence[Document], listener: Listener
    ) -> Usage:
        self.announce(documents, listener)
        usages = [self.augment_batch(b, generator, listener) for b in self.batches(documents)]
        return sum(usages, Usage())

    def augment_batch(
        self,
        batch: Sequence[Document],
        generator: TextGenerator,
        listener: Listener,
        check: Callable[[], None] = lambda: None,
    ) -> Usage:
        """Augment documents, repeating requests with useless answers; return the usage.

        Args:
            batch: The documents.
            generator: The language model.
            listener: Receives all answers and outcomes.
            check: Called before each round of requests; may raise.
        """
        drafts = self.begin(batch, listener)
        while asked := [(draft, request) for draft in drafts for request in draft.requests]:
            check()
            replies = generator.answer([request for _, request in asked])
            for (draft, request), reply in zip(asked, replies, strict=True):
                self.take(draft, request, reply, listener)
        return sum((draft.outcome.usage for draft in drafts), Usage())


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
        self._generator = self._augmenter.load()
        self.base = self._generator.model

    def predict_dataloader(self) -> DataLoader[list[Document]]:
        """Return this rank's documents in batches."""
        rank, num_ranks = self.trainer.global_rank, self.trainer.world_size
        own = [d for d in self._documents if _rank_of(d.id, num_ranks) == rank]
        self._augmenter.announce(own, self._listener)
        return DataLoader(cast(Any, self._augmenter.batches(own)), batch_size=None, collate_fn=list)

    def predict_step(self, batch: list[Document], batch_idx: int) -> Usage:
        """Augment documents, repeating requests with useless answers; return the usage.

        Args:
            batch: The documents.
            batch_idx: Ignored.
        """
        return self._augmenter.augment_batch(
            batch, self._generator, self._listener, self._check_sigterm
        )

    def _check_sigterm(self) -> None:
        """End at SIGTERM, for which Lightning's predict loop does not check."""
        if self.trainer.received_sigterm:
            raise SIGTERMException


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
