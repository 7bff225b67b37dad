"""The LightningModule: a frozen base model, and a bank of adapters over it."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.plugins import MixedPrecision
from lightning.pytorch.utilities import rank_zero_info
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from prag_lightning.adapters.bank import AdapterBank, Route
from prag_lightning.adapters.layout import LoraConfig
from prag_lightning.adapters.optimizer import StackedAdamW
from prag_lightning.adapters.store.opening import AdapterStore, open_store
from prag_lightning.adapters.store.recipe import Recipe, Scalar, digest_tensors, digest_text
from prag_lightning.adapters.warm_start import WarmStartSource
from prag_lightning.answering.adapted_model import AdaptedModel
from prag_lightning.answering.batches import QuestionBatch
from prag_lightning.answering.generate import Answers, Decoding, Listener
from prag_lightning.documents.still_running import still_running
from prag_lightning.encoding.batches import EncodingBatch
from prag_lightning.encoding.orthogonal import TaskDirections
from prag_lightning.encoding.slot_trainer import FinishedAdapters, SlotTrainer
from prag_lightning.encoding.strangers import Strangers
from prag_lightning.encoding.trainer_check import check_trainer
from prag_lightning.language_model.base_check import BaseAbilities, check_base
from prag_lightning.language_model.base_model import (
    Dtype,
    Quantization,
    load_base,
    load_tokenizer,
)
from prag_lightning.language_model.digest import base_digest, weights_digest
from prag_lightning.language_model.generation_settings import own_generation_settings
from prag_lightning.language_model.processor import precision_advice
from prag_lightning.language_model.prompts import PromptEncoder
from prag_lightning.language_model.target_modules import (
    check_target_modules,
    default_target_modules,
)
from prag_lightning.language_model.vocabulary import check_vocabulary
from prag_lightning.upstream import attention_of

# In Python the base may also be a loaded model; the command line takes names and folders only.
if TYPE_CHECKING:
    BaseSource = str | PreTrainedModel
else:
    BaseSource = str


class ParametricRAG(LightningModule):
    """A language model that answers from documents in its weights (arXiv:2501.15915).

    In ``fit``, every step trains the adapters of all busy slots, each on its own document; the
    callback `AdapterWriter` saves them. In ``validate``, ``test`` and ``predict``, every row of a
    batch answers with its own merge of adapters, which the callback `MergedEvaluation` provides.

    Args:
        base: Hub name or folder of the language model; ``demo`` is the embedded one. From Python
            also a loaded model, together with its ``tokenizer``.
        lora: Rank, scaling and target modules of all adapters.
        num_slots: How many documents train at once; ``auto`` follows the data module, or with the
            callback `SlotFinder` takes the number that is fastest in short trials.
        lr: Learning rate of AdamW, constant.
        weight_decay: Decoupled weight decay of AdamW.
        max_grad_norm: Clip each document's gradient to this norm; not clipped by default.
        dtype: Data type of the base model's weights; ``auto`` keeps that of its files.
        quantization: Load the base in 4 or 8 bits with bitsandbytes.
        compile: Train with the base's layers compiled by ``torch.compile``: one layer of each kind
            is compiled, and then steps are faster, above all on a GPU. Every prompt is a row of
            its own then.
        max_new_tokens: Longest answer, in tokens.
        decoding: ``greedy`` takes the likeliest token and ignores the base's generation config;
            ``base`` applies that config's penalties, as the published code does.
        store: Folder of the adapters, or an fsspec URL such as ``s3://bucket/wiki``; by default
            ``adapters`` under the Trainer's root folder.
        trust_remote_code: Run Python code that comes with the base model.
        tokenizer: Tokenizer of a base that is a loaded model.

    Raises:
        FileNotFoundError: If there is no such base model.
        ValueError: If the base is a loaded model and there is no tokenizer.
    """

    bank: AdapterBank

    def __init__(
        self,
        base: BaseSource = "demo",
        lora: LoraConfig = LoraConfig(),  # noqa: B008 - frozen
        num_slots: PositiveInt | Literal["auto"] = "auto",
        lr: PositiveFloat = 3e-4,
        weight_decay: NonNegativeFloat = 0.01,
        max_grad_norm: PositiveFloat | None = None,
        dtype: Dtype = "auto",
        quantization: Quantization | None = None,
        compile: bool = False,
        max_new_tokens: PositiveInt = 20,
        decoding: Decoding = "greedy",
        store: str | None = None,
        trust_remote_code: bool = False,
        tokenizer: PreTrainedTokenizerBase | None = None,
    ) -> None:
        super().__init__()
        self.lora = lora
        self.num_slots = num_slots
        self.lr = lr
        self.weight_decay = weight_decay
        self.max_grad_norm = max_grad_norm
        self.dtype_name = dtype
        self.quantization = quantization
        self.compile_base = compile
        self.max_new_tokens = max_new_tokens
        self.decoding = decoding
        self.trust_remote_code = trust_remote_code
        self.automatic_optimization = False
        # Checkpoints hold no base model; the result of a run is its store.
        self.strict_loading = False
        self.base: PreTrainedModel | None = None
        # In a tuple, so that it is not registered as a submodule before `configure_model`.
        self._loaded: tuple[PreTrainedModel, ...] = ()
        if isinstance(base, str):
            self.base_name = base
            self.tokenizer = tokenizer or load_tokenizer(base, trust_remote_code)
        elif tokenizer is None:
            raise ValueError(
                "the base is a loaded model, so that its tokenizer is not known; give it, too: "
                "ParametricRAG(model, tokenizer=...)"
            )
        else:
            self.base_name = base.config.name_or_path or type(base).__name__
            self.tokenizer = tokenizer
            self._loaded = (base,)
        self._warm_start = WarmStartSource()
        self._strangers: Strangers | None = None
        self._task: TaskDirections | None = None
        self._store = store
        self._abilities: BaseAbilities | None = None
        self._route: Route | None = None
        self._has_route = False

    def configure_model(self) -> None:
        """Load the base model and put an empty bank over it."""
        if self.base is not None:
            return
        trainer = self._trainer_if_any()
        self.base = load_base(
            *(self._loaded or (self.base_name,)),
            dtype=self.dtype_name,
            quantization=self.quantization,
            device=trainer.strategy.root_device if trainer else self.device,
            trust_remote_code=self.trust_remote_code,
        )
        self._own_attention = attention_of(self.base)
        if self.lora.target_modules == LoraConfig().target_modules:
            # The default names are Llama's; other bases name the layers of their MLP differently.
            targets = default_target_modules(self.base)
            self.lora = replace(self.lora, target_modules=targets)
        num_slots = 1 if self.num_slots == "auto" else self.num_slots
        self.bank = AdapterBank(self.base, self.lora, num_slots)

    @property
    def num_positions(self) -> int | None:
        """Context length of the base in tokens; None if unknown."""
        assert self.base is not None
        positions: int | None = getattr(
            self.base.config.get_text_config(), "max_position_embeddings", None
        )
        return positions

    @property
    def abilities(self) -> BaseAbilities:
        """What the base supports, determined by trials on first access.

        Raises:
            ValueError: If adapters or prompts cannot be used with it.
        """
        if self._abilities is None:
            assert self.base is not None
            self._abilities = check_base(self.base)
            check_target_modules(self.base, self.lora.target_modules)
            for remark in self._abilities.remarks:
                rank_zero_info(remark)
        return self._abilities

    @property
    def steering_settings(self) -> dict[str, Any]:
        """Settings of the base's generation config that would change greedy answers, by name."""
        assert self.base is not None
        return own_generation_settings(self.base)

    # ---------------------------------------------------------------- store and recipe

    @property
    def store_dir(self) -> str:
        """Folder of the adapters."""
        trainer = self._trainer_if_any()
        return self.store_dir_in(trainer.default_root_dir if trainer else ".")

    def store_dir_in(self, root_dir: str | Path) -> str:
        """Return the folder of the adapters of a run in ``root_dir``."""
        return self._store if self._store is not None else str(Path(root_dir) / "adapters")

    @property
    def has_weights(self) -> bool:
        """Whether the weights of the base are in this process."""
        return bool(self._loaded) or self.base is not None

    def use_store(self, folder: str) -> None:
        """Keep adapters in ``folder`` from now on."""
        self._store = folder

    def use_warm_start(self, source: WarmStartSource) -> None:
        """Start every document's adapter from ``source`` from now on."""
        self._warm_start = source

    def use_strangers(self, strangers: Strangers) -> None:
        """Train documents beside ``strangers`` from now on."""
        self._strangers = strangers

    def keep_orthogonal_to(self, task: TaskDirections) -> None:
        """Keep documents' adapters out of the directions of a task adapter from now on."""
        self._task = task

    def warm_start_row(self) -> Tensor:
        """Return the warm start, shape ``(num_params,)``, float32."""
        return self._warm_start.read(self.bank.layout, self.lora)

    def training_settings(self) -> dict[str, Scalar]:
        """Return the settings of this module that an adapter depends on."""
        trainer = self._trainer_if_any()
        company = {} if self._strangers is None else {"strangers": self._strangers.wording}
        task = {} if self._task is None else {"orthogonal_to": self._task.wording}
        return {
            "lr": self.lr,
            "weight_decay": self.weight_decay,
            "max_grad_norm": self.max_grad_norm,
            "dtype": self.dtype_name,
            "quantization": self.quantization,
            "precision": str(trainer.precision) if trainer else "32-true",
            **company,
            **task,
        }

    def recipe_settings(self, encoder: PromptEncoder, training: dict[str, Any]) -> dict[str, Any]:
        """Return the settings that determine the recipe; they do not require a loaded base.

        Args:
            encoder: Encodes the prompts of training.
            training: Settings of the data module that an adapter depends on.
        """
        return {
            "base": self.base_name,
            "lora": vars(self.lora),
            "warm_start": vars(self._warm_start),
            "training": {**self.training_settings(), **training},
            "prompts": encoder.wording,
        }

    def recipe(self, encoder: PromptEncoder, training: dict[str, Scalar]) -> Recipe:
        """Return everything that an adapter depends on besides its document.

        Args:
            encoder: Encodes the prompts of training.
            training: Settings of training, those of this module and of the data module.

        Raises:
            ValueError: If the prompts are not made with this base's tokenizer.
        """
        assert self.base is not None
        if encoder.tokenizer.get_vocab() != self.tokenizer.get_vocab():
            raise ValueError(
                f"the data module makes prompts for another base than '{self.base_name}'; give "
                "DocumentDataModule the same 'base'"
            )
        check_vocabulary(self.base, encoder)
        return Recipe(
            base_model=self.base_name,
            base_digest=self._base_digests[0],
            base_digest_version=2,
            sampled_base_digest=self._base_digests[1],
            lora=self.lora,
            modules=self.bank.layout.modules,
            warm_start=digest_tensors([("warm_start", self.warm_start_row())]),
            training=training,
            prompt_version=digest_text(*encoder.wording),
            prompt={
                **vars(encoder.template),
                "exemplars": encoder.template.exemplar_text(encoder.exemplars),
                "chat_template": str(encoder.tokenizer.chat_template or ""),
            },
        )

    @cached_property
    def _base_digests(self) -> tuple[str, str]:
        """The digests of the base in the current format and in that of version 0.1.0."""
        base = self.base
        assert base is not None
        with still_running(lambda: "reading the base's weights for their digest"):
            return base_digest(base), weights_digest(base)

    def open_store(self, encoder: PromptEncoder, folder: str | None = None) -> AdapterStore:
        """Return the store of adapters, opened for reading.

        Their training settings may differ, but not the base, the warm start and the wording of
        prompts.

        Args:
            encoder: Encodes the prompts of training.
            folder: Folder of the store; by default `store_dir`.

        Raises:
            FileNotFoundError: If there is no store.
            ValueError: If its adapters are of another recipe.
        """
        return open_store(folder or self.store_dir, self.recipe(encoder, {}), mode="read")

    # ---------------------------------------------------------------- encoding

    def configure_optimizers(self) -> StackedAdamW:
        """Return AdamW with a step counter for every slot."""
        return StackedAdamW(self.bank.weight, lr=self.lr, weight_decay=self.weight_decay)

    def on_fit_start(self) -> None:
        """Check for settings that would make wrong adapters, and prepare the slots.

        Raises:
            ValueError: If the base, the strategy, the number of epochs or the optimizer is not
                suitable for encoding documents.
        """
        check_trainer(self.trainer)
        _ = self.abilities
        plugin = self.trainer.precision_plugin
        if isinstance(plugin, MixedPrecision):
            # Every document has its own loss scale.
            plugin.scaler = None
        self.slots = self._slot_trainer()
        assert self.base is not None
        if advice := precision_advice(self.base, str(self.trainer.precision)):
            rank_zero_info(advice)

    def set_num_slots(self, num_slots: int) -> None:
        """Empty the bank, and resize it to another number of documents at once."""
        self.bank.resize(num_slots)
        self._stacked_optimizer().resize(self.bank.weight)
        self.slots = self._slot_trainer()

    def start_documents(self, slots: Collection[int], row: Tensor) -> None:
        """Start new documents in some slots, and reset their optimizer state.

        Args:
            slots: Slots in which documents begin with the next step.
            row: The adapter that they start from, shape ``(num_params,)``.

        Raises:
            ValueError: If the bank has too few slots, and may not grow.
        """
        if slots and max(slots) >= self.bank.num_slots:
            self._make_slots(1 + max(slots))
        self.slots.start(slots, row, self._stacked_optimizer())

    def _make_slots(self, num_slots: int) -> None:
        if self.num_slots != "auto":
            raise ValueError(
                f"the batches are for {num_slots} slots, but the module has num_slots "
                f"{self.num_slots}; give the data module num_slots={self.num_slots}, too"
            )
        if self.slots.has_trained:
            raise ValueError(
                f"a batch needs {num_slots} slots, more than the batches before; give the module "
                f"num_slots={num_slots}"
            )
        self.set_num_slots(num_slots)

    def on_train_batch_start(self, batch: EncodingBatch, batch_idx: int) -> None:
        """Start the documents that no callback has started."""
        if missing := self.slots.not_started(batch):
            self.start_documents(missing, self.warm_start_row().to(self.device))

    def training_step(self, batch: EncodingBatch, batch_idx: int) -> Tensor:
        """Train every busy slot on its document's next prompts, and return the losses."""
        self._use_attention(self.abilities.attention)
        self.slots.note_finished(len(batch.ends))
        return self.slots.step(batch.readable_by(self.abilities), cast(Any, self.optimizers()))

    def try_step(self, batch: EncodingBatch) -> None:
        """Take a trial step; the bank must be emptied afterwards."""
        self._use_attention(self.abilities.attention)
        self.slots.step(batch.readable_by(self.abilities), self._stacked_optimizer())

    @torch.no_grad()
    def losses(self, batch: EncodingBatch) -> Tensor:
        """Return each document's loss, shape ``(len(batch.slots),)``, without training."""
        self._use_attention(self.abilities.attention)
        return self.slots.losses(batch.readable_by(self.abilities))

    def take_finished(self, slots: list[int]) -> FinishedAdapters:
        """Return copies of the adapters of documents that ended in ``slots``."""
        return self.slots.take_finished(slots)

    def on_train_epoch_end(self) -> None:
        """Stop the Trainer: all documents are encoded, and another epoch would train them again."""
        self.slots.note_finished(0)
        self.trainer.should_stop = True

    def _stacked_optimizer(self) -> StackedAdamW:
        return cast(StackedAdamW, self.trainer.optimizers[0])

    def _slot_trainer(self) -> SlotTrainer:
        assert self.base is not None
        return SlotTrainer(
            self.base,
            self.bank,
            self.manual_backward,
            max_grad_norm=self.max_grad_norm,
            loss_scaling=str(self.trainer.precision) in ("16-mixed", "16-true"),
            compile=self.compile_base,
            strangers=self._strangers,
            task=self._task,
        )

    # ---------------------------------------------------------------- answering

    def answer(
        self, batch: QuestionBatch, route: Route | None, listeners: Sequence[Listener] = ()
    ) -> Answers:
        """Answer a batch of questions.

        Args:
            batch: The questions.
            route: The adapters of each row; None for none.
            listeners: Followers of the generated tokens, one for each row, or none.
        """
        return self._adapted_model().answer(batch, route, listeners)

    def first_token_entropy(self, batch: QuestionBatch, route: Route | None) -> Tensor:
        """Return how unsure the base is of each answer's first token.

        Args:
            batch: The questions.
            route: The adapters of each row; None for none.

        Returns:
            Entropies in nats, shape ``(rows,)``.
        """
        return self._adapted_model().first_token_entropy(batch, route)

    def _adapted_model(self) -> AdaptedModel:
        assert self.base is not None
        abilities = self.abilities
        self._use_attention(self._own_attention)
        return AdaptedModel(
            self.base,
            self.base_name,
            self.tokenizer,
            self.bank,
            abilities,
            self.decoding,
            self.max_new_tokens,
        )

    def use_route(self, route: Route | None) -> None:
        """Answer the next batch with the adapters of ``route``; None for none."""
        self._route, self._has_route = route, True

    def test_step(  # type: ignore[override]
        self, batch: QuestionBatch, batch_idx: int, dataloader_idx: int = 0
    ) -> Answers:
        """Answer a batch of questions with the adapters of its route.

        Raises:
            ValueError: If the questions need adapters and no callback provided any.
        """
        if any(batch.adapters) and not self._has_route:
            raise ValueError(
                f"the method '{batch.method}' needs adapters; add the callback MergedEvaluation to "
                "the Trainer's"
            )
        route, self._route, self._has_route = self._route, None, False
        return self.answer(batch, route)

    validation_step = predict_step = test_step  # type: ignore[assignment]

    def _trainer_if_any(self) -> Trainer | None:
        try:
            return self.trainer
        except RuntimeError:
            return None

    def _use_attention(self, implementation: str) -> None:
        assert self.base is not None
        if attention_of(self.base) != implementation:
            self.base.set_attn_implementation(implementation)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave the base model out."""
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {k: v for k, v in state.items() if not k.startswith("base.")}
