"""Questions that are answered together, each row with its own documents and adapters."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from prag_lightning.documents.rankings import RetrievedDocument
from prag_lightning.documents.records import Question


class QuestionRow(NamedTuple):
    """A question as one row of a batch.

    Args:
        question: The question.
        adapters: The documents whose adapters are merged, best first; empty for none.
        passages: The documents whose texts stand in the prompt.
        prompt: Token ids of the prompt, up to the beginning of the answer.
        answer: Token ids of the first accepted answer; empty if there is none.
        counted: Whether the question counts in the scores over all types.
    """

    question: Question
    adapters: list[RetrievedDocument]
    passages: list[RetrievedDocument]
    prompt: list[int]
    answer: list[int]
    counted: bool = True


@dataclass
class QuestionBatch:
    """Questions that are answered together.

    Args:
        method: Name of the method; of several methods, their names joined by ``+``.
        questions: The questions, one for each row.
        counted: Whether each question counts in the scores over all types.
        adapters: The documents whose adapters each row merges, best first; empty for none.
        passages: The documents whose texts stand in each row's prompt.
        input_ids: Prompts up to the beginning of the answer, padded at the left, shape
            ``(rows, tokens)``.
        attention_mask: 1 for tokens, 0 for padding, shape of ``input_ids``.
        answer_ids: The first accepted answer of each row, padded at the right, shape
            ``(rows, answer_tokens)``.
        answer_lengths: Tokens of each accepted answer, shape ``(rows,)``; 0 if there is none.
        reads_without_adapters: Whether the adapters are active only from the last token of the
            prompt on.
        warm_start_only: Whether only the warm start is active, and no document's adapter.
    """

    method: str
    questions: list[Question]
    counted: list[bool]
    adapters: list[list[RetrievedDocument]]
    passages: list[list[RetrievedDocument]]
    input_ids: Tensor
    attention_mask: Tensor
    answer_ids: Tensor
    answer_lengths: Tensor
    reads_without_adapters: bool = False
    warm_start_only: bool = False

    def to(self, device: torch.device, non_blocking: bool = False) -> "QuestionBatch":
        """Return the batch with its tensors on ``device``.

        Args:
            device: The target device.
            non_blocking: Whether to copy asynchronously.
        """
        names = ("input_ids", "attention_mask", "answer_ids", "answer_lengths")
        moved = {n: getattr(self, n).to(device, non_blocking=non_blocking) for n in names}
        return replace(self, **moved)


def collate(
    method: str,
    rows: Sequence[QuestionRow],
    *,
    reads_without_adapters: bool = False,
    warm_start_only: bool = False,
) -> QuestionBatch:
    """Return rows as one batch.

    Args:
        method: Name of the method that answers.
        rows: The rows, at least one.
        reads_without_adapters: As for `QuestionBatch`.
        warm_start_only: As for `QuestionBatch`.
    """
    return QuestionBatch(
        method=method,
        questions=[row.question for row in rows],
        counted=[row.counted for row in rows],
        adapters=[row.adapters for row in rows],
        passages=[row.passages for row in rows],
        input_ids=_pad([row.prompt for row in rows], side="left"),
        attention_mask=_pad([[1] * len(row.prompt) for row in rows], side="left"),
        answer_ids=_pad([row.answer for row in rows], side="right"),
        answer_lengths=torch.tensor([len(row.answer) for row in rows]),
        reads_without_adapters=reads_without_adapters,
        warm_start_only=warm_start_only,
    )


def _pad(rows: Sequence[Sequence[int]], side: Literal["left", "right"]) -> Tensor:
    """Return rows of equal length, filled up with 0, shape ``(rows, tokens)``."""
    longest = max(len(row) for row in rows)
    padded = []
    for row in rows:
        gap = [0] * (longest - len(row))
        padded.append([*gap, *row] if side == "left" else [*row, *gap])
    return torch.tensor(padded, dtype=torch.long)
