"""Training the documents in a bank's slots: losses, gradients, and what may go wrong with them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from transformers import PreTrainedModel

from prag_lightning.adapters.bank import AdapterBank, Route
from prag_lightning.adapters.optimizer import StackedAdamW, clip_rows_
from prag_lightning.encoding.batches import EncodingBatch, Part
from prag_lightning.encoding.compiled_layers import CompiledLayers
from prag_lightning.encoding.objectives import LossTokens, NextToken, Objective
from prag_lightning.encoding.orthogonal import TaskDirections
from prag_lightning.encoding.strangers import Strangers
from prag_lightning.encoding.teacher import Teacher
from prag_lightning.language_model.blocks import recorded_blocks
from prag_lightning.language_model.logits import head_of, last_hidden_states

# First loss scale of 16-bit training, as in torch's GradScaler, and the smallest to be tried.
FIRST_LOSS_SCALE, LAST_LOSS_SCALE = 2.0**16, 2.0**-16


class FinishedAdapters(NamedTuple):
    """Adapters after their documents' last steps.

    Args:
        rows: Shape ``(n, num_params)``, float32.
        failed_at: The first step, from 1, whose loss was not a finite number; 0 if all were. Shape
            ``(n,)``.
    """

    rows: Tensor
    failed_at: Tensor


class SlotTrainer:
    """Takes optimizer steps for the documents in a bank's slots, without mixing documents.

    Args:
        base: The base model, with attention that needs no mask.
        bank: Its adapters.
        backward: Called with a loss instead of ``loss.backward()``.
        max_grad_norm: Clip each document's gradient to this norm.
        loss_scaling: Scale each document's loss by its own power of 2, halved when its gradient
            overflows, for 16-bit floating point. With one scale for all, a document's overflow
            would skip the steps of its neighbours.
        compile: Compile the base's layers and the loss.
        strangers: Finished adapters that are randomly added beside the document's own.
        task: Directions of a task adapter that documents' adapters leave alone.
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
        strangers: Strangers | None = None,
        task: TaskDirections | None = None,
    ) -> None:
        self.base = base
        self.bank = bank
        self.backward = backward
        self.max_grad_norm = max_grad_norm
        self.loss_scaling = loss_scaling
        self.compile = compile
        self.strangers = strangers
        self.task = task
        # Strangers drawn for this step, by slot.
        self._drawn: dict[int, list[int]] = {}
        self._layers = CompiledLayers(base, bank) if compile else None
        self._teacher = Teacher(base)
        device = bank.weight.device
        self._num_steps = [0] * bank.num_slots
        self._failed_at = torch.zeros(bank.num_slots, dtype=torch.long, device=device)
        self._loss_scales = torch.ones(bank.num_slots, device=device)
        # Slots of documents that do not fit in memory even alone; their losses are NaN.
        self.too_large: set[int] = set()
        self.has_trained = False
        # Slots prepared for the documents that begin in them.
        self._started: set[int] = set()
        self._num_finished = self._num_taken = 0
        # How many documents fit in memory at once; None before it ran out.
        self._slots_at_once: int | None = None

    def start(self, slots: Iterable[int], row: Tensor, optimizer: StackedAdamW) -> None:
        """Start new documents in some slots.

        Args:
            slots: Slots in which documents begin with the next step.
            row: The adapter that they start from, shape ``(num_params,)``.
            optimizer: Optimizer whose state for the slots is reset.
        """
        for slot in slots:
            self.bank.load(slot, row)
            optimizer.reset(slot)
            self._started.add(slot)
            if self.task is not None:
                self.task.start_(self.bank.weight, [slot])

    def not_started(self, batch: EncodingBatch) -> list[int]:
        """Return the slots whose beginning documents were not started yet."""
        return [slot for slot in batch.begins if slot not in self._started]

    def step(self, batch: EncodingBatch, optimizer: StackedAdamW) -> Tensor:
        """Take one optimizer step in every busy slot.

        Args:
            batch: The prompts of every busy slot.
            optimizer: Takes the step, in these slots only.

        Returns:
            Each document's mean loss before the step, shape ``(len(batch.slots),)``.
        """
        self.has_trained = True
        self._started.clear()
        for slot in batch.begins:
            self._num_steps[slot] = self._failed_at[slot] = 0
            if self.loss_scaling:
                self._loss_scales[slot] = FIRST_LOSS_SCALE
            self.too_large.discard(slot)
            if batch.objective.has_teacher:
                self._teacher.forget(slot)
        if self.strangers is not None:
            self._drawn = {
                slot: self.strangers.draw(document_id, self._num_steps[slot])
                for slot, document_id in batch.documents.items()
            }
        self.bank.zero_grad()
        losses = self._accumulate(batch)
        self._note_failures(batch.slots, losses)
        if slots := self._trainable(batch):
            self._take_step(slots, optimizer)
        return losses

    def _take_step(self, slots: tuple[int, ...], optimizer: StackedAdamW) -> None:
        task = self.task
        if task is not None and task.weight is not None:
            task.add_penalty_(self.bank.grad, self.bank.weight, slots)
        if self.max_grad_norm is not None:
            clip_rows_(self.bank.grad, self.max_grad_norm)
        optimizer.step(slots=slots)
        if task is not None and task.weight is None:
            task.project_(self.bank.weight, slots)

    def losses(self, batch: EncodingBatch) -> Tensor:
        """Return each document's mean loss, shape ``(len(batch.slots),)``, without strangers."""
        self._drawn = {}
        return torch.stack(
            [self.part_losses(part, batch.loss_counts, batch.objective) for part in batch.parts]
        ).sum(0)

    def part_losses(
        self,
        part: Part,
        loss_counts: Tensor,
        objective: Objective = NextToken(),  # noqa: B008
    ) -> Tensor:
        """Return what a part of a batch adds to each document's mean loss.

        Args:
            part: Prompts that are read together.
            loss_counts: ``loss_counts`` of the batch.
            objective: Objective of the batch.

        Returns:
            Shape of ``loss_counts``; 0 for documents that are not in the part.

        Raises:
            ValueError: If a packed part is to be trained by compiled code, or hidden states are to
                be compared there.
        """
        if self.compile and part.lengths is not None:
            raise ValueError(
                "model.compile is on, but prompts stand in one row, in which every step is another "
                "program; leave data.packed out"
            )
        compared = objective.compared_blocks
        if self.compile and (compared is None or compared):
            raise ValueError(
                "model.compile is on, but the objective compares hidden states, which compiled "
                "code does not record; set model.compile to false"
            )
        recorded = recorded_blocks(self.base, compared, part.loss_positions)
        inputs = self.base, part.input_ids, part.position_ids, part.lengths
        with self.bank.routed(self._route(part)) as pairs, recorded as blocks:
            if self._layers is None:
                hidden = last_hidden_states(*inputs)
            else:
                hidden = self._layers.last_hidden_states(pairs, *inputs[1:3])
        known = self._teacher.states(part.rows) if objective.has_teacher else []
        tokens = LossTokens(
            hidden.flatten(0, 1).index_select(0, part.loss_positions),
            head_of(self.base),
            part.targets,
            known[0] if known else None,
            self.compile,
            blocks,
            known[1:],
        )
        losses = objective.losses(tokens)
        sums = losses.new_zeros(len(loss_counts)).index_add(0, part.loss_documents, losses)
        return sums / loss_counts

    def _route(self, part: Part) -> Route:
        slots = [row.slot for row in part.rows]
        if self.strangers is None or not any(self._drawn.get(slot) for slot in slots):
            return Route(self._places(slots)[:, None], lengths=part.lengths)
        route = self.strangers.beside(self.bank.weight, slots, self._drawn)
        return replace(route, lengths=part.lengths)

    def take_finished(self, slots: Sequence[int]) -> FinishedAdapters:
        """Return copies of the adapters in ``slots``, and which of their documents failed."""
        self._num_taken += len(slots)
        places = self._places(slots)
        rows = self.bank.weight.detach().index_select(0, places).float()
        return FinishedAdapters(rows, self._failed_at.index_select(0, places))

    def note_finished(self, num_documents: int) -> None:
        """Count documents that end with the next step; warn if earlier ones were not taken."""
        if self._num_finished and not self._num_taken:
            rank_zero_warn(
                "adapters are trained but nothing saves them; add the callback AdapterWriter to "
                "the Trainer's"
            )
            self._num_taken = self._num_finished
        self._num_finished += num_documents

    def _trainable(self, batch: EncodingBatch) -> tuple[int, ...]:
        return tuple(slot for slot in batch.slots if slot not in self.too_large)

    def _note_failures(self, slots: Sequence[int], losses: Tensor) -> None:
        for slot in slots:
            self._num_steps[slot] += 1
        places, steps = self._places(slots), self._places([self._num_steps[slot] for slot in slots])
        before = self._failed_at[places]
        fails = ~torch.isfinite(losses) & (before == 0)
        self._failed_at[places] = torch.where(fails, steps, before)

    def _accumulate(self, batch: EncodingBatch) -> Tensor:
        """Accumulate gradients, for as many documents at once as fit, and return the losses."""
        while True:
            slots = self._trainable(batch)
            width = self._slots_at_once or max(1, len(slots))
            groups = [slots[i : i + width] for i in range(0, len(slots), width)]
            batches = [batch] if groups == [batch.slots] else map(batch.of_slots, groups)
            losses, failed = self._accumulate_each(batches)
            if not failed:
                break
            # Outside the except block, whose traceback keeps the tensors of the failed pass alive.
            self.bank.zero_grad()
            self._make_room(failed)
        if len(slots) == len(batch.slots):
            return torch.cat(losses)
        found = torch.full((len(batch.slots),), torch.nan, device=self.bank.weight.device)
        if slots:
            places = [place for place, slot in enumerate(batch.slots) if slot in slots]
            found[self._places(places)] = torch.cat(losses).to(found)
        return found

    def _accumulate_each(
        self, batches: Iterable[EncodingBatch]
    ) -> tuple[list[Tensor], Sequence[int]]:
        """Return the losses of each batch, and the slots of the first that is too large."""
        losses: list[Tensor] = []
        for batch in batches:
            try:
                losses.append(self._accumulate_at_once(batch))
            except torch.OutOfMemoryError:
                return losses, batch.slots
        return losses, ()

    def _make_room(self, slots: Sequence[int]) -> None:
        """Train fewer documents at once than those in ``slots``, or give up on a single one."""
        if len(slots) > 1:
            self._slots_at_once = len(slots) // 2
            print(f"out of memory: going on with {self._slots_at_once} documents at once")
        else:
            # It may be the one that left no room for the others.
            self.too_large.update(slots)
            self._slots_at_once = None

    def _accumulate_at_once(self, batch: EncodingBatch) -> Tensor:
        scales = self._loss_scales.index_select(0, self._places(batch.slots))
        losses = torch.zeros_like(scales)
        if batch.objective.has_teacher:
            self._teacher.read(batch)
        for part in batch.parts:
            part_losses = self.part_losses(part, batch.loss_counts, batch.objective)
            self.backward((part_losses * scales).sum())
            losses = losses + part_losses.detach()
        if self.loss_scaling:
            self._unscale(batch, scales)
        return losses

    def _unscale(self, batch: EncodingBatch, scales: Tensor) -> None:
        """Divide gradients by their scales, and recompute those that overflowed."""
        slots = list(batch.slots)
        self.bank.grad[slots] /= scales[:, None]
        finite = torch.isfinite(self.bank.grad[slots]).all(dim=1)
        # At the last scale, scaling is not the cause: the document itself is not finite.
        failed = ~finite & (scales > LAST_LOSS_SCALE)
        again = [slot for slot, yes in zip(slots, failed.tolist(), strict=True) if yes]
        if again:
            self.bank.grad[again] = 0.0
            self._loss_scales[again] /= 2
            self._accumulate_at_once(batch.of_slots(again))

    def _places(self, slots: Sequence[int]) -> Tensor:
        return torch.tensor(slots).to(self.bank.weight.device, non_blocking=True)
