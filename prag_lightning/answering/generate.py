"""Answering a batch of questions with the adapters that the bank is routed to."""

from itertools import takewhile
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from prag_lightning.answering.batches import QuestionBatch
from prag_lightning.language_model.base_model import end_token_ids
from prag_lightning.language_model.logits import head_of, last_hidden_states
from prag_lightning.language_model.loss import token_nll
from prag_lightning.language_model.prompts import PADDING


class Answers(NamedTuple):
    """What the model says to the questions of a batch.

    Args:
        texts: What was generated, without the prompt.
        nll: Mean negative log-likelihood of each accepted answer's tokens, shape ``(rows,)``;
            NaN where a question has no accepted answer.
    """

    texts: list[str]
    nll: Tensor


def generate(
    base: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    batch: QuestionBatch,
    max_new_tokens: int,
) -> list[str]:
    """Return the greedy answers, cut where the model ends them."""
    end_ids = end_token_ids(base, tokenizer)
    ids = cast(Any, base).generate(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        pad_token_id=PADDING,
        eos_token_id=end_ids or None,
    )
    answers = ids[:, batch.input_ids.shape[1] :].tolist()
    # What follows the end is padding.
    spoken = [list(takewhile(lambda token: token not in end_ids, answer)) for answer in answers]
    return tokenizer.batch_decode(spoken, skip_special_tokens=True)


def answer_nll(base: PreTrainedModel, batch: QuestionBatch) -> Tensor:
    """Return the mean negative log-likelihood of each first accepted answer's tokens."""
    ids = batch.answered_ids
    positions = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    # The token before predicts.
    first, stop = batch.answer_spans[:, :1] - 1, batch.answer_spans[:, 1:] - 1
    inside = (positions >= first) & (positions < stop)
    predicting = inside.flatten().nonzero()[:, 0]
    hidden = last_hidden_states(base, ids, positions).flatten(0, 1)[predicting]
    targets = ids.roll(-1, dims=1).flatten()[predicting]
    nll = token_nll(hidden, head_of(base), targets)
    rows = predicting // ids.shape[1]
    return nll.new_zeros(len(ids)).index_add(0, rows, nll) / inside.sum(1)
