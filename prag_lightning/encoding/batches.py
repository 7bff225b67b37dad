"""What the data module yields: batches of prompts to encode, and batches of questions to answer."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from prag_lightning.encoding.objectives import NextToken, Objective
from prag_lightning.language_model.base_check import BaseAbilities

# Of a group of rows, as a share of what the model reads.
MOST_PADDING = 0.05


class Row(NamedTuple):
    """One prompt of a step.

    Args:
        slot: Where its document's adapter is.
        ids: Its tokens.
        loss_start: The first of them that carries loss.
        is_cut: Whether passages were cut to make it fit.
        number: Which of its document's prompts it is.
        teacher_ids: The tokens of the same prompt as the teacher reads it, with the document in it;
            they end with the same answer. None for an objective without a teacher.
    """

    slot: int
    ids: list[int]
    loss_start: int
    is_cut: bool = False
    number: int = 0
    teacher_ids: list[int] | None = None

    @property
    def teacher_row(self) -> "Row":
        """The row that the teacher reads; it carries as many losses."""
        assert self.teacher_ids is not None
        num_losses = len(self.ids) - max(self.loss_start, 1)
        loss_start = len(self.teacher_ids) - num_losses
        return Row(self.slot, self.teacher_ids, loss_start, number=self.number)

    @property
    def longest(self) -> int:
        """Tokens of the longer of what student and teacher read."""
        return max(len(self.ids), len(self.teacher_ids or ()))


@dataclass
class Part:
    """Prompts that go through the model together.

    Tokens stand in ``rows`` rows padded at the right, or, packed, all in one row behind each
    other. ``N`` positions carry loss.

    Args:
        rows: The prompts.
        lengths: Their lengths where they are packed; None where each is a row.
        input_ids: Shape ``(rows, tokens)``, packed ``(1, tokens)``.
        position_ids: Like ``input_ids``; every prompt counts from 0.
        loss_positions: Places in the flattened ``input_ids`` that predict, shape ``(N,)``.
        targets: The tokens that they predict, shape ``(N,)``.
        loss_documents: The documents that they belong to, by place in the batch's ``slots``,
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
            device: Where the tensors go.
            non_blocking: Whether to go on before the copies are done.
        """
        names = "input_ids", "position_ids", "loss_positions", "targets", "loss_documents"
        moved = {n: getattr(self, n).to(device, non_blocking=non_blocking) for n in names}
        return replace(self, **moved)


@dataclass
class EncodingBatch:
    """One optimizer step of every busy slot.

    Args:
        rows: The prompts, ordered by slot.
        packed: Whether all prompts stand in one row.
        parts: The same prompts as the model reads them; packed a single part, else rows of like
            length together.
        loss_counts: How many tokens of each document carry loss, shape ``(len(slots),)``.
        begins: Documents that begin with this step, by slot.
        ends: Documents that are done after it, by slot.
        documents: All documents of this step, by slot.
        objective: What is trained.
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
        """Those of which a prompt was cut to make it fit."""
        return {self.documents[row.slot] for row in self.rows if row.is_cut}

    def documents_beyond(self, num_tokens: int | None) -> set[str]:
        """Return those with a prompt of more tokens than this; None is no limit."""
        if num_tokens is None:
            return set()
        return {self.documents[row.slot] for row in self.rows if len(row.ids) > num_tokens}

    @property
    def num_tokens(self) -> int:
        """Tokens of prompts, without padding."""
        return sum(len(row.ids) for row in self.rows)

    @property
    def num_places(self) -> int:
        """Tokens that the model reads, padding and all."""
        return sum(part.input_ids.numel() for part in self.parts)

    def to(self, device: torch.device, non_blocking: bool = True) -> "EncodingBatch":
        """Return the batch with its tensors on ``device``; by default without waiting for it.

        Args:
            device: Where the tensors go.
            non_blocking: Whether to go on before the copies are done.
        """
        return replace(
            self,
            parts=[part.to(device, non_blocking) for part in self.parts],
            loss_counts=self.loss_counts.to(device, non_blocking=non_blocking),
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
        packed: Whether all of them stand in one row.
        begins: Documents that begin with this step, by slot.
        ends: Documents that are done after it, by slot.
        documents: All documents of this step, by slot.
        objective: What is trained.
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
    """Return rows as the model reads them: all in one row, or those of like length together.

    Args:
        rows: The prompts.
        packed: Whether all of them stand in one row.
    """
    slots = _slots(rows)
    return [_part(group, packed, slots) for group in ([rows] if packed else like_lengths(rows))]


def like_lengths(rows: Sequence[Row]) -> list[list[Row]]:
    """Return rows in groups, longest first, each with less than ``MOST_PADDING`` of padding."""
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
        position_ids = torch.arange(longest).expand(len(rows), -1)
    positions, targets, places = [], [], []
    for start, row in zip(starts, rows, strict=False):
        # The token before predicts; the first of a prompt has none before it.
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
