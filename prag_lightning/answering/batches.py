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
