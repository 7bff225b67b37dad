"""The LightningModule: a frozen base model, and a bank of adapters over it."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import torch
from lightning import LightningModule
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor
from transformers import PreTrainedModel

from prag_lightning.adapters.bank import AdapterBank, Route
from prag_lightning.adapters.layout import LoraConfig
from prag_lightning.adapters.optimizer import StackedAdamW, clip_rows_
from prag_lightning.adapters.recipe import Recipe, digest_tensors, digest_text
from prag_lightning.adapters.warm_start import WarmStartSource
from prag_lightning.attention import SEGMENTED
from prag_lightning.base_model import (
    Dtype,
    Quantization,
    check_base,
    last_hidden_states,
    load_base,
    load_tokenizer,
    weights_digest,
)
from prag_lightning.data.batches import EncodingBatch, QuestionBatch
from prag_lightning.loss import token_nll
from prag_lightning.tuning import time_slots

if TYPE_CHECKING:
    from prag_lightning.data.datamodule import DocumentDataModule


# Where the loss scale of 16-bit training begins, as in torch's GradScaler, and where it gives up.
FIRST_LOSS_SCALE, LAST_LOSS_SCALE = 2.0**16, 2.0**-16


class Answers(NamedTuple):
    """What the model says to the questions of a batch.

    Args:
        texts: What was generated, without the prompt.
        nll: Mean negative log-likelihood of each accepted answer's tokens, shape ``(rows,)``;
            NaN where a question has no accepted answer.
    """

    texts: list[str]
    nll: Tensor


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
        compile: Train with the base compiled by ``torch.compile``: a minute or two at the start,
            and then faster steps on a GPU.
        max_new_tokens: Longest answer, in tokens.
        store: Folder of the adapters; by default ``adapters`` under the run's root folder.
        trust_remote_code: Run Python code that comes with the base model.
    """

    bank: AdapterBank

    def __init__(
        self,
        base: str = "demo",
        lora: LoraConfig = LoraConfig(),  # noqa: B008 - frozen
        num_slots: int | Literal["auto"] = "auto",
        lr: float = 3e-4,
        weight_decay: float = 0.01,
        max_grad_norm: float | None = None,
        dtype: Dtype = "auto",
        quantization: Quantization | None = None,
        compile: bool = False,
        max_new_tokens: int = 20,
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
        self._read_prompts = last_hidden_states
        if compile:
            self._read_prompts = torch.compile(last_hidden_states, dynamic=True)
        self.max_new_tokens = max_new_tokens
        self.store = store
        self.trust_remote_code = trust_remote_code
        self.warm_start = WarmStartSource()
        self.automatic_optimization = False
        # Checkpoints hold no base model; the store is what a run leaves.
        self.strict_loading = False
        self.base: PreTrainedModel | None = None
        # After a full memory: how many documents fit.
        self._slots_at_once: int | None = None
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
            device=self._trainer.strategy.root_device if self._trainer else None,
            trust_remote_code=self.trust_remote_code,
        )
        num_slots = 1 if self.num_slots == "auto" else self.num_slots
        self.bank = AdapterBank(self.base, self.lora, num_slots)

    @property
    def store_dir(self) -> str:
        """Where the adapters are."""
        return self.store or str(Path(self.trainer.default_root_dir) / "adapters")

    def warm_start_row(self) -> Tensor:
        """Return the warm start, shape ``(num_params,)``, float32."""
        return self.warm_start.read(self.bank.layout, self.lora)

    def recipe(self, data: "DocumentDataModule") -> Recipe:
        """Return all that an adapter depends on besides its document."""
        assert self.base is not None
        training = {
            "lr": self.lr,
            "weight_decay": self.weight_decay,
            "max_grad_norm": self.max_grad_norm,
            "dtype": self.dtype_name,
            "quantization": self.quantization,
            "precision": str(self.trainer.precision),
            **data.training_settings(),
        }
        return Recipe(
            base_model=self.base_name,
            base_digest=weights_digest(self.base),
            lora=self.lora,
            modules=self.bank.layout.modules,
            warm_start=digest_tensors([("warm_start", self.warm_start_row())]),
            training=training,
            prompt_version=digest_text(*vars(data.encoder.template).values()),
        )

    def configure_optimizers(self) -> StackedAdamW:
        """Return AdamW with a step counter for every slot."""
        return StackedAdamW(self.bank.weight, lr=self.lr, weight_decay=self.weight_decay)

    def on_fit_start(self) -> None:
        """Prepare the base for prompts without masks, and choose the number of slots."""
        assert self.base is not None
        check_base(self.base)
        self.base.set_attn_implementation(SEGMENTED)
        plugin = self.trainer.precision_plugin
        if isinstance(plugin, MixedPrecision):
            # One scale for all would let a document's overflow skip its neighbours' steps.
            plugin.scaler = None
        half = str(self.trainer.precision) in ("16-mixed", "16-true")
        self._loss_scale = FIRST_LOSS_SCALE if half else None
        if self.num_slots == "auto":
            self._choose_num_slots()
        self._reset_slots()
        self._num_encoded = 0
        self._start = time.monotonic()

    def on_test_start(self) -> None:
        """Check that the base is one that we know how to score."""
        assert self.base is not None
        check_base(self.base)

    def training_step(self, batch: EncodingBatch, batch_idx: int) -> None:
        """Train every busy slot on its document's next prompts."""
        losses = self.encoding_step(batch, cast(Any, self.optimizers()))
        self._num_encoded += len(batch.ends)
        self._log_progress(batch, losses)

    def encoding_step(self, batch: EncodingBatch, optimizer: StackedAdamW) -> Tensor:
        """Take one optimizer step in every busy slot.

        Returns:
            Each document's mean loss before the step, shape ``(len(batch.slots),)``.
        """
        for slot in batch.begins:
            self._finite[slot] = True
            self._loss_scales[slot] = self._loss_scale or 1.0
        self.bank.zero_grad()
        losses = self._backward(batch)
        if self.max_grad_norm is not None:
            clip_rows_(self.bank.grad, self.max_grad_norm)
        slots = torch.tensor(batch.slots).to(self.device, non_blocking=True)
        self._finite[slots] &= torch.isfinite(losses)
        optimizer.step(slots=batch.slots)
        return losses

    def _backward(self, batch: EncodingBatch) -> Tensor:
        """Accumulate gradients, in as many parts as the memory wants, and return the losses."""
        while True:
            width = self._slots_at_once or len(batch.slots)
            groups = [batch.slots[i : i + width] for i in range(0, len(batch.slots), width)]
            try:
                parts = [
                    self._backward_part(batch if len(groups) == 1 else batch.of_slots(group))
                    for group in groups
                ]
                return torch.cat(parts)
            except torch.OutOfMemoryError:
                if width == 1:
                    raise
            # Out of the except block, for its traceback holds the tensors that were too many.
            self._slots_at_once = width // 2
            self.bank.zero_grad()
            print(f"out of memory: going on with {self._slots_at_once} documents at once")

    def _backward_part(self, batch: EncodingBatch) -> Tensor:
        losses = self.document_losses(batch)
        if self._loss_scale is None:
            self.manual_backward(losses.sum())
            return losses.detach()
        slots = list(batch.slots)
        scales = self._loss_scales[slots]
        self.manual_backward((losses * scales).sum())
        self.bank.grad[slots] /= scales[:, None]
        finite = torch.isfinite(self.bank.grad[slots]).all(dim=1)
        again = [slot for slot, ok in zip(slots, finite.tolist(), strict=True) if not ok]
        # Below this no overflow is to blame; the document is not finite, and reported as such.
        again = [slot for slot in again if self._loss_scales[slot] > LAST_LOSS_SCALE]
        if again:
            self.bank.grad[again] = 0.0
            self._loss_scales[again] /= 2
            self._backward_part(batch.of_slots(again))
        return losses.detach()

    def _reset_slots(self) -> None:
        """Forget what the slots held."""
        num_slots = self.bank.num_slots
        self._finite = torch.ones(num_slots, dtype=torch.bool, device=self.device)
        self._loss_scales = torch.ones(num_slots, device=self.device)
        self._slots_at_once = None

    def _choose_num_slots(self) -> None:
        data = cast("DocumentDataModule", cast(Any, self.trainer).datamodule)
        trials = time_slots(self, data.encoding_steps)
        best = max(trials, key=lambda trial: trial.tokens_per_second, default=None)
        self.set_num_slots(best.num_slots if best else 1)
        if best:
            speeds = ", ".join(f"{t.num_slots}: {t.tokens_per_second:,.0f}" for t in trials)
            print(f"num_slots {best.num_slots}: the fastest, in tokens a second of {speeds}")

    def set_num_slots(self, num_slots: int) -> StackedAdamW:
        """Empty the bank, with another number of slots, and return the optimizer of these."""
        self.bank.resize(num_slots)
        optimizer = self.configure_optimizers()
        self.trainer.strategy.optimizers = [optimizer]
        self._reset_slots()
        return optimizer

    def document_losses(self, batch: EncodingBatch) -> Tensor:
        """Return each document's mean negative log-likelihood, shape ``(len(batch.slots),)``."""
        assert self.base is not None
        lengths = tuple(len(row.ids) for row in batch.rows) if batch.packed else None
        slots = torch.tensor([[row.slot] for row in batch.rows])
        route = Route(slots.to(self.device, non_blocking=True), lengths=lengths)
        with self.bank.routed(route):
            hidden = self._read_prompts(self.base, batch.input_ids, batch.position_ids, lengths)
        flat = hidden.flatten(0, 1).index_select(0, batch.loss_positions)
        head = self.base.get_output_embeddings()
        nll = token_nll(flat, head, batch.targets, compile=self.compile_base)
        sums = nll.new_zeros(len(batch.loss_counts)).index_add(0, batch.loss_documents, nll)
        return sums / batch.loss_counts

    def finished_rows(self, slots: Sequence[int]) -> Tensor:
        """Return copies of the adapters in ``slots``, shape ``(len(slots), num_params)``, float32.

        That of a document whose losses were not all finite numbers is NaN throughout.
        """
        places = torch.tensor(slots).to(self.device, non_blocking=True)
        rows = self.bank.weight.detach().index_select(0, places).float()
        return rows.masked_fill_(~self._finite.index_select(0, places)[:, None], float("nan"))

    @torch.no_grad()
    def test_step(  # type: ignore[override]
        self, batch: QuestionBatch, batch_idx: int, dataloader_idx: int = 0
    ) -> Answers:
        """Answer a batch of questions with the adapters that the bank is routed to."""
        return Answers(self.generate(batch), self.answer_nll(batch))

    def generate(self, batch: QuestionBatch) -> list[str]:
        """Return the greedy answers, cut where the model ends them."""
        assert self.base is not None
        ids = cast(Any, self.base).generate(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask,
            max_new_tokens=self.max_new_tokens,
            do_sample=False,
            num_beams=1,
            pad_token_id=self.tokenizer.pad_token_id,
            eos_token_id=self.tokenizer.eos_token_id,
        )
        new = ids[:, batch.input_ids.shape[1] :]
        return self.tokenizer.batch_decode(new, skip_special_tokens=True)

    def answer_nll(self, batch: QuestionBatch) -> Tensor:
        """Return the mean negative log-likelihood of each first accepted answer's tokens."""
        assert self.base is not None
        ids = batch.answered_ids
        positions = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        # The token before predicts.
        first, stop = batch.answer_spans[:, :1] - 1, batch.answer_spans[:, 1:] - 1
        inside = (positions >= first) & (positions < stop)
        predicting = inside.flatten().nonzero()[:, 0]
        hidden = last_hidden_states(self.base, ids, positions).flatten(0, 1)
        targets = ids.roll(-1, dims=1).flatten()[predicting]
        nll = token_nll(hidden[predicting], self.base.get_output_embeddings(), targets)
        rows = predicting // ids.shape[1]
        return nll.new_zeros(len(ids)).index_add(0, rows, nll) / inside.sum(1)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave the base model out."""
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {k: v for k, v in state.items() if not k.startswith("base.")}

    def _log_progress(self, batch: EncodingBatch, losses: Tensor) -> None:
        seconds = time.monotonic() - self._start
        numbers = {
            "documents": self._num_encoded,
            "documents_per_second": self._num_encoded / seconds,
            "padding": 1 - batch.num_tokens / batch.input_ids.numel(),
        }
        # On the CPU: a number that goes to the device waits for it.
        tensors = {name: torch.tensor(float(number)) for name, number in numbers.items()}
        self.log_dict({"loss": losses.mean(), **tensors}, batch_size=1)
