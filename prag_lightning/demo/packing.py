"""Conversations one behind the other in one row, each attending to itself alone: no padding."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface

from prag_lightning.demo.samples import Turn
from prag_lightning.demo.tokenizer import ASSISTANT, USER

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ATTENTION = "packed"
PROMPT, ANSWER = 0, 1


@dataclass(frozen=True)
class Packed:
    """Conversations one behind the other.

    Args:
        input_ids: Shape ``(tokens,)``.
        roles: ``PROMPT`` or ``ANSWER`` for each token, shape ``(tokens,)``.
        lengths: Tokens of each conversation, shape ``(conversations,)``.
    """

    input_ids: Tensor
    roles: Tensor
    lengths: Tensor

    def to(self, device: torch.device) -> "Packed":
        """Return the same on a device."""
        return Packed(self.input_ids.to(device), self.roles.to(device), self.lengths.to(device))

    @property
    def rows(self) -> Tensor:
        """Which conversation each token is part of, shape ``(tokens,)``."""
        numbers = torch.arange(len(self.lengths), device=self.lengths.device)
        return numbers.repeat_interleave(self.lengths, output_size=len(self.input_ids))


def pack(conversations: Sequence[Sequence[Turn]], tokenizer: "PreTrainedTokenizerBase") -> Packed:
    """Return conversations as the tokenizer's chat template has them.

    The end of the assistant's turn belongs to the answer.
    """
    texts = [text for turns in conversations for turn in turns for text in turn]
    encoded = iter(tokenizer(texts, add_special_tokens=False, split_special_tokens=True).input_ids)
    user, assistant = tokenizer.convert_tokens_to_ids([USER, ASSISTANT])
    ids: list[int] = []
    roles: list[int] = []
    lengths: list[int] = []
    for turns in conversations:
        before = len(ids)
        for _ in turns:
            prompt = [user, *next(encoded), assistant]
            answer = [*next(encoded), tokenizer.eos_token_id]
            ids += prompt + answer
            roles += [PROMPT] * len(prompt) + [ANSWER] * len(answer)
        lengths.append(len(ids) - before)
    return Packed(torch.tensor(ids), torch.tensor(roles), torch.tensor(lengths))


def model_inputs(packed: Packed, max_length: int) -> dict[str, Any]:
    """Return what a transformers model with the attention ``packed`` reads.

    Args:
        packed: On the model's device.
        max_length: At least the longest conversation's tokens, known without asking the device.
    """
    offsets = F.pad(packed.lengths.cumsum(0), (1, 0))
    positions = torch.arange(len(packed.input_ids), device=packed.input_ids.device)
    return {
        "input_ids": packed.input_ids[None],
        "position_ids": (positions - offsets[packed.rows])[None],
        # No mask is asked for: the attention goes by the offsets.
        "attention_mask": {"full_attention": None},
        "cu_seq_lens_q": offsets,
        "max_length_q": max_length,
        "use_cache": False,
    }


@torch.compiler.disable
def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: None,
    *,
    cu_seq_lens_q: Tensor,
    max_length_q: int,
    **options: Any,
) -> tuple[Tensor, None]:
    """Return causal attention within each conversation, shape ``(1, tokens, heads, head_dim)``.

    Args:
        module: The attention layer, which is not asked.
        query: Shape ``(1, heads, tokens, head_dim)``; ``key`` and ``value`` likewise.
        key: See ``query``.
        value: See ``query``.
        attention_mask: None.
        cu_seq_lens_q: Where each conversation begins, and where the last one ends.
        max_length_q: At least the tokens of the longest.
        **options: What other attentions need.
    """
    states = [state[0].transpose(0, 1).to(value.dtype) for state in (query, key, value)]
    if query.is_cuda:
        nested = [
            torch.nested.nested_tensor_from_jagged(
                state.contiguous(), cu_seq_lens_q, min_seqlen=1, max_seqlen=max_length_q
            ).transpose(1, 2)
            for state in states
        ]
        attended = F.scaled_dot_product_attention(*nested, is_causal=True).transpose(1, 2).values()
        return attended[None], None
    lengths = cu_seq_lens_q.diff().tolist()
    split = zip(*(state.transpose(0, 1).split(lengths, dim=1) for state in states), strict=True)
    attended = torch.cat(
        [F.scaled_dot_product_attention(*parts, is_causal=True) for parts in split], dim=1
    )
    return attended.transpose(0, 1)[None], None


AttentionInterface.register(ATTENTION, packed_attention)
