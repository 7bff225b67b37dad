"""The LightningModule: a frozen base model, and a bank of adapters over it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from lightning import LightningModule
from lightning.pytorch.plugins import MixedPrecision
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor
from transformers import PreTrainedModel

from prag_lightning.adapters.bank import AdapterBank
from prag_lightning.adapters.layout import LoraConfig
from prag_lightning.adapters.optimizer import StackedAdamW
from prag_lightning.adapters.store.recipe import Recipe, Scalar, digest_tensors, digest_text
from prag_lightning.adapters.warm_start import WarmStartSource
from prag_lightning.answering.batches import QuestionBatch
from prag_lightning.answering.generate import Answers, answer_nll, generate
from prag_lightning.encoding.batches import EncodingBatch
from prag_lightning.encoding.slot_trainer import SlotTrainer
from prag_lightning.language_model.attention import SEGMENTED
from prag_lightning.language_model.base_model import (
    Dtype,
    Quantization,
    check_base,
    load_base,
    load_tokenizer,
    weights_digest,
)
from prag_lightning.language_model.prompts import PromptEncoder

if TYPE_CHECKING:
    from prag_lightning.datamodule import DocumentDataModule


class ParametricRAG(LightningModule):
    """A language model that answers from documents in its weights (arXiv:2501.15915).

    In ``fit``, every step trains the adapters of all busy slots, each on its own document. In
    ``test`` and ``predict``, every row of a batch answers with its own merge of adapters.

    Args:
        base: Hub name or folder of the language model; ``demo`` is the embedded one.
        lora: Rank, scaling and target modules of all adapters.
        num_slots: How many documents train at once; ``auto`` tries which number is the fastest.
        lr: Learning rate of AdamW, constant.
        weight_decay: Decoupled weight decay of AdamW.
        max_grad_norm: Clip each document's gradient to this norm; none is clipped by default.
        dtype: Of the base model's weights.
        quantization: Load the base in 4 or 8 bits with bitsandbytes.
        compile: Train with the base compiled by ``torch.compile``: some minutes at the start,
            and then faster steps, on a GPU above all. Needs ``data.packed`` to be false.
        max_new_tokens: Longest answer, in tokens.
        store: Folder of the adapters; by default ``adapters`` under the run's root folder.
        trust_remote_code: Run Python code that comes with the base model.
    """

    bank: AdapterBank

    def __init__(
        self,
        base: str = "demo",
        lora: LoraConfig = LoraConfig(),  # noqa: B008 - frozen
        num_slots: PositiveInt | Literal["auto"] = "auto",
        lr: PositiveFloat = 3e-4,
        weight_decay: NonNegativeFloat = 0.01,
        max_grad_norm: PositiveFloat | None = None,
        dtype: Dtype = "auto",
        quantization: Quantization | None = None,
        compile: bool = False,
        max_new_tokens: PositiveInt = 20,
        store: str | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        super().__init__()
        self.base_name = base
        self.lora = lora
        self.num_slots = num_slots
        self.lr = lr
        self.weight_decay = weight_decay
        self.max_grad_norm = max_grad_norm
        self.dtype_name = dtype
        self.quantization = quantization
        self.compile_base = compile
        self.max_new_tokens = max_new_tokens
        self.store = store
        self.trust_remote_code = trust_remote_code
        self.warm_start = WarmStartSource()
        self.automatic_optimization = False
        # Checkpoints hold no base model; the store is what a run leaves.
        self.strict_loading = False
        self.base: PreTrainedModel | None = None
        self.tokenizer = load_tokenizer(base, trust_remote_code)
        # Answers are generated behind the prompt's end, so that is where rows are aligned.
        self.tokenizer.padding_side = "left"

    def configure_model(self) -> None:
        """Load the base model and put an empty bank over it."""
        if self.base is not None:
            return
        self.base = load_base(
            self.base_name,
            dtype=self.dtype_name,
            quantization=self.quantization,
            device=self._trainer.strategy.root_device if self._trainer else self.device,
            trust_remote_code=self.trust_remote_code,
        )
        num_slots = 1 if self.num_slots == "auto" else self.num_slots
        self.bank = AdapterBank(self.base, self.lora, num_slots)

    @property
    def num_positions(self) -> int | None:
        """How many tokens the base was made for; None where it does not say."""
        assert self.base is not None
        positions: int | None = getattr(
            self.base.config.get_text_config(), "max_position_embeddings", None
        )
        return positions

    @property
    def store_dir(self) -> str:
        """Where the adapters are."""
        return self.store or str(Path(self.trainer.default_root_dir) / "adapters")

    def warm_start_row(self) -> Tensor:
        """Return the warm start, shape ``(num_params,)``, float32."""
        return self.warm_start.read(self.bank.layout, self.lora)

    def recipe(self, data: "DocumentDataModule") -> Recipe:
        """Return all that an adapter depends on besides its document."""
        return self.recipe_of(data.training_encoder, self._training_settings(data))

    def recipe_settings(self, data: "DocumentDataModule") -> dict[str, Any]:
        """Return the settings that the recipe follows from; for these no base need be loaded."""
        return {
            "base": self.base_name,
            "lora": vars(self.lora),
            "warm_start": vars(self.warm_start),
            "training": self._training_settings(data),
            "prompts": data.training_encoder.wording,
        }

    def _training_settings(self, data: "DocumentDataModule") -> dict[str, Scalar]:
        return {
            "lr": self.lr,
            "weight_decay": self.weight_decay,
            "max_grad_norm": self.max_grad_norm,
            "dtype": self.dtype_name,
            "quantization": self.quantization,
            "precision": str(self.trainer.precision),
            **data.training_settings(),
        }

    def recipe_of(self, encoder: PromptEncoder, training: dict[str, Scalar]) -> Recipe:
        """Return the recipe of adapters for this base, trained so on an encoder's prompts."""
        assert self.base is not None
        return Recipe(
            base_model=self.base_name,
            base_digest=weights_digest(self.base),
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

    def configure_optimizers(self) -> StackedAdamW:
        """Return AdamW with a step counter for every slot."""
        return StackedAdamW(self.bank.weight, lr=self.lr, weight_decay=self.weight_decay)

    def on_fit_start(self) -> None:
        """Prepare the base for prompts without masks, and choose the number of slots."""
        assert self.base is not None
        check_base(self.base)
        self._own_attention = self.base.config._attn_implementation
        self.base.set_attn_implementation(SEGMENTED)
        plugin = self.trainer.precision_plugin
        if isinstance(plugin, MixedPrecision):
            # Every document has a loss scale of its own.
            plugin.scaler = None
        self.slots = self._slot_trainer()
        if self.num_slots == "auto":
            from prag_lightning.callbacks.slot_finder import choose_num_slots

            data = cast("DocumentDataModule", cast(Any, self.trainer).datamodule)
            choose_num_slots(self, data.encoding_steps)

    def set_num_slots(self, num_slots: int) -> StackedAdamW:
        """Empty the bank, with another number of slots, and return the optimizer of these."""
        self.bank.resize(num_slots)
        optimizer = self.configure_optimizers()
        self.trainer.strategy.optimizers = [optimizer]
        self.slots = self._slot_trainer()
        return optimizer

    def training_step(self, batch: EncodingBatch, batch_idx: int) -> Tensor:
        """Train every busy slot on its document's next prompts, and return the losses."""
        return self.slots.step(batch, cast(Any, self.optimizers()))

    def on_fit_end(self) -> None:
        """Give the base its own attention back, for answers are padded at the left."""
        assert self.base is not None
        self.base.set_attn_implementation(self._own_attention)

    def on_test_start(self) -> None:
        """Check that the base is one that we know how to score."""
        assert self.base is not None
        check_base(self.base)

    @torch.no_grad()
    def test_step(  # type: ignore[override]
        self, batch: QuestionBatch, batch_idx: int, dataloader_idx: int = 0
    ) -> Answers:
        """Answer a batch of questions with the adapters that the bank is routed to."""
        assert self.base is not None
        texts = generate(self.base, self.tokenizer, batch, self.max_new_tokens)
        return Answers(texts, answer_nll(self.base, batch))

    def predict_step(
        self, batch: QuestionBatch, batch_idx: int, dataloader_idx: int = 0
    ) -> list[str]:
        """Answer a batch of questions that have no answers to compare with."""
        assert self.base is not None
        return generate(self.base, self.tokenizer, batch, self.max_new_tokens)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave the base model out."""
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {k: v for k, v in state.items() if not k.startswith("base.")}

    def _slot_trainer(self) -> SlotTrainer:
        assert self.base is not None
        return SlotTrainer(
            self.base,
            self.bank,
            self.manual_backward,
            max_grad_norm=self.max_grad_norm,
            loss_scaling=str(self.trainer.precision) in ("16-mixed", "16-true"),
            compile=self.compile_base,
        )
