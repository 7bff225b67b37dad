"""Training the documents in a bank's slots: losses, gradients, and what may go wrong with them."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from prag_lightning.adapters.bank import AdapterBank, Pairs, Route
from prag_lightning.adapters.optimizer import StackedAdamW, clip_rows_
from prag_lightning.base_model import last_hidden_states
from prag_lightning.data.batches import EncodingBatch
from prag_lightning.loss import token_nll

# Where the loss scale of 16-bit training begins, as in torch's GradScaler, and where it gives up.
FIRST_LOSS_SCALE, LAST_LOSS_SCALE = 2.0**16, 2.0**-16


class SlotTrainer:
    """Takes optimizer steps for the documents in a bank's slots; no document feels another.

    Args:
        base: The base model, with attention that needs no mask.
        bank: Its adapters.
        backward: Called with a loss instead of ``loss.backward()``.
        max_grad_norm: Clip each document's gradient to this norm.
        loss_scaling: Scale every document's loss by a power of 2 of its own, halved when the
            gradient overflows, as 16-bit floating point needs it. One scale for all would let a
            document's overflow skip its neighbours' steps.
        compile: Compile the base and the loss.
    """

    def __init__(
        self,
        base: PreTrainedModel,
        bank: AdapterBank,
        backward: Callable[[Tensor], None] = Tensor.backward,
        *,
        max_grad_norm: float | None = None,
        loss_scaling: bool = False,
        compile: bool = False,
    ) -> None:
        self.base = base
        self.bank = bank
        self.backward = backward
        self.max_grad_norm = max_grad_norm
        self.loss_scaling = loss_scaling
        self.compile = compile
        device = bank.weight.device
        self._finite = torch.ones(bank.num_slots, dtype=torch.bool, device=device)
        self._loss_scales = torch.ones(bank.num_slots, device=device)
        # After a full memory: how many documents fit.
        self._slots_at_once: int | None = None

    def step(self, batch: EncodingBatch, optimizer: StackedAdamW) -> Tensor:
        """Take one optimizer step in every busy slot.

        Returns:
            Each document's mean loss before the step, shape ``(len(batch.slots),)``.
        """
        for slot in batch.begins:
            self._finite[slot] = True
            self._loss_scales[slot] = FIRST_LOSS_SCALE
        self.bank.zero_grad()
        losses = self._accumulate(batch)
        if self.max_grad_norm is not None:
            clip_rows_(self.bank.grad, self.max_grad_norm)
        self._finite[self._places(batch.slots)] &= torch.isfinite(losses)
        optimizer.step(slots=batch.slots)
        return losses

    def document_losses(self, batch: EncodingBatch) -> Tensor:
        """Return each document's mean negative log-likelihood, shape ``(len(batch.slots),)``.

        Raises:
            ValueError: If a packed batch is to be trained by compiled code.
        """
        if self.compile and batch.packed:
            raise ValueError(
                "model.compile is on, but prompts stand in one row, in which every step is another "
                "program; set data.packed to false"
            )
        lengths = tuple(len(row.ids) for row in batch.rows) if batch.packed else None
        places = self._places([row.slot for row in batch.rows])
        with self.bank.routed(Route(places[:, None], lengths=lengths)) as pairs:
            inputs = self.base, batch.input_ids, batch.position_ids
            if self.compile:
                hidden = _compiled_hidden_states()(self.bank, pairs, *inputs)
            else:
                hidden = last_hidden_states(*inputs, lengths)
        flat = hidden.flatten(0, 1).index_select(0, batch.loss_positions)
        head = self.base.get_output_embeddings()
        nll = token_nll(flat, head, batch.targets, compile=self.compile)
        sums = nll.new_zeros(len(batch.loss_counts)).index_add(0, batch.loss_documents, nll)
        return sums / batch.loss_counts

    def finished_rows(self, slots: Sequence[int]) -> Tensor:
        """Return copies of the adapters in ``slots``, shape ``(len(slots), num_params)``, float32.

        That of a document whose losses were not all finite numbers is NaN throughout.
        """
        places = self._places(slots)
        rows = self.bank.weight.detach().index_select(0, places).float()
        return rows.masked_fill_(~self._finite.index_select(0, places)[:, None], float("nan"))

    def _accumulate(self, batch: EncodingBatch) -> Tensor:
        """Accumulate gradients, in as many parts as the memory wants, and return the losses."""
        while True:
            width = self._slots_at_once or len(batch.slots)
            groups = [batch.slots[i : i + width] for i in range(0, len(batch.slots), width)]
            parts = [batch] if len(groups) == 1 else [batch.of_slots(group) for group in groups]
            try:
                return torch.cat([self._accumulate_part(part) for part in parts])
            except torch.OutOfMemoryError:
                if width == 1:
                    raise
            # Out of the except block, for its traceback holds the tensors that were too many.
            self._slots_at_once = width // 2
            self.bank.zero_grad()
            print(f"out of memory: going on with {self._slots_at_once} documents at once")

    def _accumulate_part(self, batch: EncodingBatch) -> Tensor:
        losses = self.document_losses(batch)
        if not self.loss_scaling:
            self.backward(losses.sum())
            return losses.detach()
        slots = list(batch.slots)
        scales = self._loss_scales[slots]
        self.backward((losses * scales).sum())
        self.bank.grad[slots] /= scales[:, None]
        finite = torch.isfinite(self.bank.grad[slots]).all(dim=1)
        # With the last scale no overflow is to blame: the document is not finite.
        failed = ~finite & (scales > LAST_LOSS_SCALE)
        again = [slot for slot, yes in zip(slots, failed.tolist(), strict=True) if yes]
        if again:
            self.bank.grad[again] = 0.0
            self._loss_scales[again] /= 2
            self._accumulate_part(batch.of_slots(again))
        return losses.detach()

    def _places(self, slots: Sequence[int]) -> Tensor:
        return torch.tensor(slots).to(self.bank.weight.device, non_blocking=True)


def _hidden_states(bank: AdapterBank, pairs: Pairs, *inputs: Any) -> Tensor:
    # The compiler takes shapes for constants that a module holds, but not those of arguments.
    bank.pairs = pairs
    return last_hidden_states(*inputs)


@cache
def _compiled_hidden_states() -> Callable[..., Tensor]:
    """Compile for any number of rows and tokens, once in a process."""
    return torch.compile(_hidden_states, dynamic=True)
