"""Generates answers to a batch of questions, and measures the likelihood of the right ones."""

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import takewhile
from typing import Any, Literal, NamedTuple, Protocol, cast

import torch
from torch import Tensor
from transformers import (
    DynamicCache,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
)

from prag_lightning.answering.batches import QuestionBatch
from prag_lightning.answering.reading import Prompts, read_prompts
from prag_lightning.language_model.base_model import end_token_ids
from prag_lightning.language_model.logits import CACHE, decoder_of, head_of, last_hidden_states
from prag_lightning.language_model.loss import token_nll
from prag_lightning.language_model.prompts import PADDING

Decoding = Literal["greedy", "base"]


class Listener(Protocol):
    """Follows one row while it is generated."""

    def hear(self, token: int) -> bool:
        """Take the row's next token, and return whether the row goes on."""

    def end(self) -> None:
        """Take note that the model has ended the row; other rows may go on."""


class Answers(NamedTuple):
    """The model's answers to the questions of a batch.

    Args:
        texts: The generated texts, without the prompts.
        nll: Mean negative log-likelihood of each accepted answer's tokens, shape ``(rows,)``;
            NaN where a question has no accepted answer.
    """

    texts: list[str]
    nll: Tensor


@torch.no_grad()
def answer_questions(
    base: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    batch: QuestionBatch,
    max_new_tokens: int,
    decoding: Decoding = "greedy",
    begun: DynamicCache | None = None,
    while_reading: AbstractContextManager[None] | None = None,
    listeners: Sequence[Listener] = (),
) -> Answers:
    """Return the answers to a batch of questions; each prompt is read once.

    Args:
        base: The language model, with the adapters that the questions need.
        tokenizer: Its tokenizer.
        batch: The questions.
        max_new_tokens: Longest answer, in tokens.
        decoding: ``greedy`` takes the likeliest token and ignores the model's generation config;
            ``base`` applies that config's penalties and other processors, as the published code
            does, but does not sample.
        begun: Keys and values of the prompt tokens that were already read; None for none.
        while_reading: Context manager that is active while all tokens but the last are read.
        listeners: One for each row, or none. A row that does not go on ends with that token.
    """
    with while_reading or nullcontext():
        prompts = read_prompts(base, batch, begun)
    nll = _answer_nll(base, batch, prompts)
    ends = end_token_ids(base, tokenizer)
    heard = _Heard(listeners, ends)
    if decoding == "greedy":
        spoken = _greedy(base, prompts, heard, max_new_tokens)
    else:
        spoken = _generate(base, batch, prompts, heard, max_new_tokens)
    # Everything after the end token is padding.
    whole = [list(takewhile(lambda token: token not in ends, row)) for row in spoken.tolist()]
    return Answers(tokenizer.batch_decode(whole, skip_special_tokens=True), nll)


def _answer_nll(base: PreTrainedModel, batch: QuestionBatch, prompts: Prompts) -> Tensor:
    """Return the mean negative log-likelihood of each row's accepted answer, shape ``(rows,)``."""
    rows, length = batch.answer_ids.shape
    if length == 0:
        return torch.full((rows,), torch.nan, device=batch.input_ids.device)
    places = torch.arange(length, device=batch.input_ids.device)
    # Each token predicts the next; padding comes after all that counts.
    ids = torch.cat([prompts.last_ids, batch.answer_ids[:, :-1]], dim=1)
    ones = prompts.attention_mask.new_ones(rows, length - 1)
    hidden = decoder_of(base)(
        input_ids=ids,
        attention_mask=torch.cat([prompts.attention_mask, ones], dim=1),
        position_ids=prompts.last_positions + places,
        use_cache=True,
        **{CACHE: _copied(prompts.cache)},
    ).last_hidden_state
    inside = places < batch.answer_lengths[:, None]
    nll = token_nll(hidden[inside], head_of(base), batch.answer_ids[inside])
    sums = nll.new_zeros(rows).index_add(0, inside.nonzero()[:, 0], nll)
    return sums / batch.answer_lengths


def _copied(cache: DynamicCache) -> DynamicCache:
    """Return a cache that grows independently: layers replace their tensors, never modify them."""
    copied = copy.copy(cache)
    copied.layers = [copy.copy(layer) for layer in cache.layers]
    return copied


class _Heard(StoppingCriteria):
    """Passes the tokens of each row to its listener, and knows which rows have ended."""

    def __init__(self, listeners: Sequence[Listener], end_ids: list[int]) -> None:
        self.end_ids = end_ids
        self._listeners = listeners
        self._ended: list[bool] = []

    def hear(self, tokens: list[int]) -> list[bool]:
        """Take the next token of each row, and return which rows have ended."""
        self._ended = self._ended or [False] * len(tokens)
        for row, token in enumerate(tokens):
            if not self._ended[row]:
                self._ended[row] = not self._goes_on(row, token)
        return self._ended

    def _goes_on(self, row: int, token: int) -> bool:
        is_end = token in self.end_ids
        if not self._listeners:
            return not is_end
        if is_end:
            self._listeners[row].end()
            return False
        return self._listeners[row].hear(token)

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Any:
        """Take the last token of each row, as transformers' ``generate`` asks after each step."""
        return torch.tensor(self.hear(input_ids[:, -1].tolist()), device=input_ids.device)


def _greedy(base: PreTrainedModel, prompts: Prompts, heard: _Heard, max_new_tokens: int) -> Tensor:
    """Generate the likeliest token at each position, shape ``(rows, tokens)``."""
    cache, ids, positions, mask = prompts
    spoken = []
    for _ in range(max_new_tokens):
        step = base(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            use_cache=True,
            **{CACHE: cache},
        )
        ids = step.logits[:, -1].argmax(dim=-1, keepdim=True)
        spoken.append(ids)
        if all(heard.hear(ids[:, 0].tolist())):
            break
        positions = positions + 1
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
    return torch.cat(spoken, dim=1)


def _generate(
    base: PreTrainedModel,
    batch: QuestionBatch,
    prompts: Prompts,
    heard: _Heard,
    max_new_tokens: int,
) -> Tensor:
    """Return what the model generates by its own config, shape ``(rows, tokens)``."""
    ids: Tensor = cast(Any, base).generate(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        generation_config=_config(heard.end_ids, max_new_tokens),
        stopping_criteria=StoppingCriteriaList([heard]),
        **{CACHE: prompts.cache},
    )
    return ids[:, batch.input_ids.shape[1] :]


def _config(end_ids: list[int], max_new_tokens: int) -> GenerationConfig:
    return GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        pad_token_id=PADDING,
        eos_token_id=end_ids or None,
        return_dict_in_generate=False,
    )


@torch.no_grad()
def answer_alone(
    base: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    batch: QuestionBatch,
    row: int,
    max_new_tokens: int,
    decoding: Decoding = "greedy",
    listeners: Sequence[Listener] = (),
) -> Answers:
    """Return the answer to one question of a batch; its prompt is read twice, without padding.

    For models that cannot read several tokens at once after a cache, such as Mamba.

    Args:
        base: The language model, with the adapters that this question needs.
        tokenizer: Its tokenizer.
        batch: The questions.
        row: Which of them is asked.
        max_new_tokens: Longest answer, in tokens.
        decoding: As for `answer_questions`.
        listeners: The one of this row, or none.
    """
    prompt = batch.input_ids[row][batch.attention_mask[row].bool()]
    answer = batch.answer_ids[row, : batch.answer_lengths[row]]
    hidden = last_hidden_states(base, torch.cat([prompt, answer])[None])[0]
    places = torch.arange(len(answer), device=prompt.device) + len(prompt) - 1
    nll = token_nll(hidden[places], head_of(base), answer).mean(dim=0, keepdim=True)
    ends = end_token_ids(base, tokenizer)
    own_config = base.generation_config
    if decoding == "greedy":
        # transformers takes settings that a config leaves out from the model's own.
        base.generation_config = GenerationConfig()
    try:
        spoken = cast(Any, base).generate(
            input_ids=prompt[None],
            generation_config=_config(ends, max_new_tokens),
            stopping_criteria=StoppingCriteriaList([_Heard(listeners, ends)]),
        )[0]
    finally:
        base.generation_config = own_config
    whole = list(takewhile(lambda token: token not in ends, spoken[len(prompt) :].tolist()))
    return Answers(tokenizer.batch_decode([whole], skip_special_tokens=True), nll)
