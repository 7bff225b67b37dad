"""The batches of the data module: prompts to encode, and questions to answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor

from prag_lightning.encoding.objectives import NextToken, Objective
from prag_lightning.language_model.base_check import BaseAbilities

# Largest share of padding among the tokens of a group of rows.
MOST_PADDING = 0.05


class Row(NamedTuple):
    """One prompt of a step.

    Args:
        slot: Slot of its document's adapter.
        ids: Token ids.
        loss_start: Index of the first token that carries loss.
        is_cut: Whether passages were cut to make it fit.
        number: Index among its document's prompts.
        teacher_ids: Token ids of the teacher's prompt, which contains the document and ends with
            the same answer. None for an objective without a teacher.
    """

    slot: int
    ids: list[int]
    loss_start: int
    is_cut: bool = False
    number: int = 0
    teacher_ids: list[int] | None = None

    @property
    def teacher_row(self) -> "Row":
        """The teacher's row; as many of its tokens carry loss."""
        assert self.teacher_ids is not None
        num_losses = len(self.ids) - max(self.loss_start, 1)
        loss_start = len(self.teacher_ids) - num_losses
        return Row(self.slot, self.teacher_ids, loss_start, number=self.number)

    @property
    def longest(self) -> int:
        """Length of the longer of the student's and the teacher's prompt."""
        return max(len(self.ids), len(self.teacher_ids or ()))


@dataclass
class Part:
    """Prompts that go through the model together.

    Each prompt is a right-padded row of ``input_ids``, or all are concatenated into one row
    (packed). ``N`` positions carry loss.

    Args:
        rows: The prompts.
        lengths: Their lengths if packed, else None.
        input_ids: Shape ``(rows, tokens)``, or ``(1, tokens)`` if packed.
        position_ids: Shape of ``input_ids``; positions start at 0 in every prompt.
        loss_positions: Indices into the flattened ``input_ids`` of the predicting tokens, shape
            ``(N,)``.
        targets: The tokens that they predict, shape ``(N,)``.
        loss_documents: The document of each target, as an index into the batch's ``slots``,
            shape ``(N,)``.
    """

    rows: Sequence[Row]
    lengths: tuple[int, ...] | None
    input_ids: Tensor
    position_ids: Tensor
    loss_positions: Tensor
    targets: Tensor
    loss_documents: Tensor

    def to(self, device: torch.device, non_blocking: bool) -> "Part":
        """Return the part with its tensors on ``device``.

        Args:
            device: The target device.
            non_blocking: Whether to copy asynchronously.
        """
        return self._changed(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "Part":
        """Return the part with its tensors in page-locked memory."""
        return self._changed(Tensor.pin_memory)

    def _changed(self, change: Callable[[Tensor], Tensor]) -> "Part":
        names = "input_ids", "position_ids", "loss_positions", "targets", "loss_documents"
        changed: dict[str, Any] = {name: change(getattr(self, name)) for name in names}
        return replace(self, **changed)


@dataclass
class EncodingBatch:
    """One optimizer step of every busy slot.

    Args:
        rows: The prompts, ordered by slot.
        packed: Whether all prompts are concatenated into one row.
        parts: The same prompts, collated: one part if packed, else one for each group of rows of
            similar length.
        loss_counts: How many tokens of each document carry loss, shape ``(len(slots),)``.
        begins: Documents that begin with this step, by slot.
        ends: Documents that are done after it, by slot.
        documents: All documents of this step, by slot.
        objective: The training objective.
    """

    rows: Sequence[Row]
    packed: bool
    parts: Sequence[Part]
    loss_counts: Tensor
    begins: dict[int, str]
    ends: dict[int, str]
    documents: dict[int, str]
    objective: Objective = NextToken()  # noqa: RUF009 - has no state

    @property
    def slots(self) -> tuple[int, ...]:
        """The slots that train, ascending."""
        return _slots(self.rows)

    @property
    def cut_documents(self) -> set[str]:
        """Documents with a prompt that was truncated to fit."""
        return {self.documents[row.slot] for row in self.rows if row.is_cut}

    def documents_beyond(self, num_tokens: int | None) -> set[str]:
        """Return the documents with a prompt longer than this; None means no limit."""
        if num_tokens is None:
            return set()
        return {self.documents[row.slot] for row in self.rows if len(row.ids) > num_tokens}

    @property
    def num_tokens(self) -> int:
        """Tokens of prompts, without padding."""
        return sum(len(row.ids) for row in self.rows)

    @property
    def num_places(self) -> int:
        """Tokens that the model reads, including padding."""
        return sum(part.input_ids.numel() for part in self.parts)

    def to(self, device: torch.device, non_blocking: bool = True) -> "EncodingBatch":
        """Return the batch with its tensors on ``device``; by default copied asynchronously.

        Args:
            device: The target device.
            non_blocking: Whether to copy asynchronously.
        """
        return replace(
            self,
            parts=[part.to(device, non_blocking) for part in self.parts],
            loss_counts=self.loss_counts.to(device, non_blocking=non_blocking),
        )

    def pin_memory(self) -> "EncodingBatch":
        """Return the batch in page-locked memory, from which a GPU copies while it works."""
        return replace(
            self,
            parts=[part.pin_memory() for part in self.parts],
            loss_counts=self.loss_counts.pin_memory(),
        )

    def readable_by(self, base: BaseAbilities) -> "EncodingBatch":
        """Return the batch as a base can read it: packed, or each prompt in a row of its own.

        Raises:
            ValueError: If a prompt is longer than the base can read.
        """
        longest = max(row.longest for row in self.rows)
        if base.max_tokens is not None and longest > base.max_tokens:
            raise ValueError(
                f"a prompt has {longest} tokens, but the base reads at most {base.max_tokens}; "
                f"give --data.max_tokens {base.max_tokens}"
            )
        if base.packs or not self.packed:
            return self
        batch = collate_encoding(
            self.rows, False, self.begins, self.ends, self.documents, self.objective
        )
        return batch.to(self.loss_counts.device)

    def of_slots(self, slots: Sequence[int]) -> "EncodingBatch":
        """Return the part of the batch that trains in ``slots``."""
        rows = [row for row in self.rows if row.slot in slots]
        begins, ends, documents = (
            {slot: document_id for slot, document_id in by_slot.items() if slot in slots}
            for by_slot in (self.begins, self.ends, self.documents)
        )
        part = collate_encoding(rows, self.packed, begins, ends, documents, self.objective)
        return part.to(self.loss_counts.device)


def _slots(rows: Sequence[Row]) -> tuple[int, ...]:
    return tuple(sorted({row.slot for row in rows}))


def collate_encoding(
    rows: Sequence[Row],
    packed: bool,
    begins: dict[int, str],
    ends: dict[int, str],
    documents: dict[int, str],
    objective: Objective = NextToken(),  # noqa: B008 - has no state
) -> EncodingBatch:
    """Return the batch of ``rows``, see ``EncodingBatch``.

    Args:
        rows: The prompts, ordered by slot.
        packed: Whether to concatenate them into one row.
        begins: Documents that begin with this step, by slot.
        ends: Documents that are done after it, by slot.
        documents: All documents of this step, by slot.
        objective: The training objective.
    """
    slots = _slots(rows)
    parts = collate_parts(rows, packed)
    loss_documents = torch.cat([part.loss_documents for part in parts])
    return EncodingBatch(
        rows=rows,
        packed=packed,
        parts=parts,
        loss_counts=torch.bincount(loss_documents, minlength=len(slots)),
        begins=begins,
        ends=ends,
        documents=documents,
        objective=objective,
    )


def collate_parts(rows: Sequence[Row], packed: bool) -> list[Part]:
    """Collate rows for the model: all in one row, or those of similar length together.

    Args:
        rows: The prompts.
        packed: Whether to concatenate them into one row.
    """
    slots = _slots(rows)
    return [_part(group, packed, slots) for group in ([rows] if packed else like_lengths(rows))]


def like_lengths(rows: Sequence[Row]) -> list[list[Row]]:
    """Group rows by length, longest first, each group with less padding than ``MOST_PADDING``."""
    groups: list[list[Row]] = []
    num_tokens = 0
    for row in sorted(rows, key=lambda row: len(row.ids), reverse=True):
        num_tokens += len(row.ids)
        if groups:
            group = groups[-1]
            if num_tokens > (1 - MOST_PADDING) * len(group[0].ids) * (len(group) + 1):
                group.append(row)
                continue
        groups.append([row])
        num_tokens = len(row.ids)
    return groups


def _part(rows: Sequence[Row], packed: bool, slots: tuple[int, ...]) -> Part:
    lengths = tuple(len(row.ids) for row in rows)
    longest = max(lengths)
    if packed:
        starts = list(accumulate(lengths, initial=0))
        input_ids = torch.tensor([[token for row in rows for token in row.ids]])
        position_ids = torch.cat([torch.arange(length) for length in lengths])[None]
    else:
        starts = [number * longest for number in range(len(rows))]
        input_ids = torch.zeros(len(rows), longest, dtype=torch.long)
        for number, row in enumerate(rows):
            input_ids[number, : len(row.ids)] = torch.tensor(row.ids)
        position_ids = torch.arange(longest).repeat(len(rows), 1)
    positions, targets, places = [], [], []
    for start, row in zip(starts, rows, strict=False):
        # A token is predicted by the one before it; the first of a prompt has none.
        first = max(row.loss_start, 1)
        positions.append(torch.arange(start + first - 1, start + len(row.ids) - 1))
        targets.append(torch.tensor(row.ids[first:], dtype=torch.long))
        places.append(torch.full((len(row.ids) - first,), slots.index(row.slot)))
    return Part(
        rows=rows,
        lengths=lengths if packed else None,
        input_ids=input_ids,
        position_ids=position_ids,
        loss_positions=torch.cat(positions),
        targets=torch.cat(targets),
        loss_documents=torch.cat(places),
    )
