"""Questions that one method answers together."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from prag_lightning.documents.rankings import RetrievedDocument
from prag_lightning.documents.records import Question


@dataclass
class QuestionBatch:
    """Questions that one method answers together.

    Args:
        method: Name of the method.
        questions: The questions, one for each row.
        adapters: Whose adapters each row merges, best first; empty for none.
        passages: Whose texts stand in each row's prompt.
        input_ids: Prompts up to where the answer begins, padded at the left,
            shape ``(rows, tokens)``.
        attention_mask: 1 for tokens, 0 for padding; like ``input_ids``.
        answered_ids: Prompts with the first accepted answer, padded at the right, shape
            ``(rows, tokens)``; rows without an accepted answer hold their prompt only.
        answer_spans: First place of the answer in ``answered_ids`` and the one behind its last,
            shape ``(rows, 2)``; equal where there is no answer.
    """

    method: str
    questions: list[Question]
    adapters: list[list[RetrievedDocument]]
    passages: list[list[RetrievedDocument]]
    input_ids: Tensor
    attention_mask: Tensor
    answered_ids: Tensor
    answer_spans: Tensor

    def to(self, device: torch.device, non_blocking: bool = False) -> "QuestionBatch":
        """Return the batch with its tensors on ``device``."""
        names = ("input_ids", "attention_mask", "answered_ids", "answer_spans")
        moved = {n: getattr(self, n).to(device, non_blocking=non_blocking) for n in names}
        return replace(self, **moved)
