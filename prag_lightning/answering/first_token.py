"""The entropy of an answer's first token, before anything is said."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from prag_lightning.answering.batches import QuestionBatch
from prag_lightning.answering.reading import read_prompts
from prag_lightning.language_model.logits import CACHE, decoder_of, logits_of


@torch.no_grad()
def first_token_entropy(
    base: PreTrainedModel,
    batch: QuestionBatch,
    begun: DynamicCache | None = None,
    while_reading: AbstractContextManager[None] | None = None,
) -> Tensor:
    """Return the entropy of each answer's first token, shape ``(rows,)``, in nats.

    Args:
        base: The language model, with the adapters that the questions need.
        batch: The questions.
        begun: Keys and values of the prompt tokens that were already read; None for none.
        while_reading: Context manager that is active while all tokens but the last are read.
    """
    with while_reading or nullcontext():
        prompts = read_prompts(base, batch, begun)
    hidden = decoder_of(base)(
        input_ids=prompts.last_ids,
        attention_mask=prompts.attention_mask,
        position_ids=prompts.last_positions,
        use_cache=True,
        **{CACHE: prompts.cache},
    ).last_hidden_state
    return entropy_of(base, hidden[:, -1])


def entropy_of(base: PreTrainedModel, hidden: Tensor) -> Tensor:
    """Return the entropy of the next token, shape ``(rows,)``, in nats.

    Args:
        base: The language model.
        hidden: The last hidden states that predict it, shape ``(rows, hidden_size)``.
    """
    logits = logits_of(base, hidden)
    wide = torch.promote_types(logits.dtype, torch.float32)
    entropies: Tensor = torch.special.entr(logits.softmax(dim=-1, dtype=wide)).sum(dim=-1)
    return entropies
