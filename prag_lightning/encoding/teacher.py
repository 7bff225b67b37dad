"""The teacher of distillation: the base with a document in its prompt."""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from prag_lightning.encoding.batches import EncodingBatch, Row, collate_parts
from prag_lightning.language_model.blocks import recorded_blocks
from prag_lightning.language_model.logits import last_hidden_states


class Teacher:
    """The base without any adapter, reading each prompt of a document once.

    It keeps the last hidden states that predict an answer's tokens, which are as exact as logits
    but smaller, and what those decoder blocks put out there that the objective compares. Later
    passes reuse them, until another document begins in the slot.

    Args:
        base: The language model.
    """

    def __init__(self, base: PreTrainedModel) -> None:
        self.base = base
        # By slot, then by number of the prompt.
        self._states: dict[int, dict[int, list[Tensor]]] = {}

    def forget(self, slot: int) -> None:
        """Forget the document in a slot."""
        self._states.pop(slot, None)

    def states(self, rows: Sequence[Row]) -> list[Tensor]:
        """Return the hidden states of prompts that were read.

        Returns:
            The last ones, then those of each compared block, of shape ``(tokens, hidden_size)``.
        """
        each = (self._states[row.slot][row.number] for row in rows)
        return [torch.cat(states) for states in zip(*each, strict=True)]

    @torch.no_grad()
    def read(self, batch: EncodingBatch) -> None:
        """Read those prompts of a batch that were not read before."""
        new = [row for row in batch.rows if row.number not in self._states.get(row.slot, {})]
        if not new:
            return
        for part in collate_parts([row.teacher_row for row in new], batch.packed):
            moved = part.to(batch.loss_counts.device, non_blocking=True)
            places = moved.loss_positions
            with recorded_blocks(self.base, batch.objective.compared_blocks, places) as blocks:
                hidden = last_hidden_states(
                    self.base, moved.input_ids, moved.position_ids, moved.lengths
                )
            last = hidden.flatten(0, 1).index_select(0, places)
            sizes = [len(row.ids) - row.loss_start for row in part.rows]
            each = zip(*(states.split(sizes) for states in (last, *blocks)), strict=True)
            for row, states in zip(part.rows, each, strict=True):
                # Copies: views would keep the tensors of the whole part alive.
                kept = [state.clone() for state in states]
                self._states.setdefault(row.slot, {})[row.number] = kept
