"""A language model with a bank of adapters over it, as it answers."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from prag_lightning.adapters.bank import AdapterBank, Route
from prag_lightning.answering.batches import QuestionBatch
from prag_lightning.answering.first_token import entropy_of, first_token_entropy
from prag_lightning.answering.generate import (
    Answers,
    Decoding,
    Listener,
    answer_alone,
    answer_questions,
)
from prag_lightning.answering.reading import can_share, find_beginnings, read_beginnings
from prag_lightning.language_model.base_check import BaseAbilities
from prag_lightning.language_model.logits import last_hidden_states


class AdaptedModel(NamedTuple):
    """A language model that answers every row of a batch with its own merge of adapters.

    Args:
        base: The language model.
        name: Its name, for error messages.
        tokenizer: Its tokenizer.
        bank: The adapters over it.
        abilities: How it can be used.
        decoding: As for `answer_questions`.
        max_new_tokens: Longest answer, in tokens.
    """

    base: PreTrainedModel
    name: str
    tokenizer: PreTrainedTokenizerBase
    bank: AdapterBank
    abilities: BaseAbilities
    decoding: Decoding
    max_new_tokens: int

    def answer(
        self, batch: QuestionBatch, route: Route | None, listeners: Sequence[Listener] = ()
    ) -> Answers:
        """Answer a batch of questions.

        Args:
            batch: The questions.
            route: The adapters of each row; None for none.
            listeners: Followers of the generated tokens, one for each row, or none.

        Raises:
            ValueError: If the base cannot read the prompts as the method asks.
        """
        if not self.abilities.continues:
            if batch.reads_without_adapters:
                raise ValueError(
                    f"the base '{self.name}' reads prompt and answer in one, so it cannot "
                    f"read the prompt without adapters; leave the method '{batch.method}' out"
                )
            return self._answer_row_by_row(batch, route, listeners)
        batch, begun = self._begin(batch, route)
        arguments = self.base, self.tokenizer, batch, self.max_new_tokens, self.decoding, begun
        with self._routed(route):
            return answer_questions(*arguments, self._reading(batch), listeners)

    @torch.no_grad()
    def first_token_entropy(self, batch: QuestionBatch, route: Route | None) -> Tensor:
        """Return how unsure the base is of each answer's first token.

        Args:
            batch: The questions.
            route: The adapters of each row; None for none.

        Returns:
            Entropies in nats, shape ``(rows,)``.
        """
        if not self.abilities.continues:
            return self._entropy_row_by_row(batch, route)
        batch, begun = self._begin(batch, route)
        with self._routed(route):
            return first_token_entropy(self.base, batch, begun, self._reading(batch))

    def _reading(self, batch: QuestionBatch) -> AbstractContextManager[None]:
        """Return the context in which all tokens of the prompts but the last are read."""
        return self.bank.paused() if batch.reads_without_adapters else nullcontext()

    @torch.no_grad()
    def _begin(
        self, batch: QuestionBatch, route: Route | None
    ) -> tuple[QuestionBatch, DynamicCache | None]:
        """Read shared beginnings of a batch's prompts, if that is worthwhile."""
        # In `base` decoding, effects of the base's config may depend on the place of padding.
        shares = self.decoding == "greedy" and self.abilities.packs and can_share(self.base)
        if not shares or not (beginnings := find_beginnings(batch, route)):
            return batch, None
        own = route.of_rows(beginnings.rows) if route else None
        with self._routed(own), self._reading(batch):
            return beginnings.batch, read_beginnings(self.base, beginnings)

    def _routed(self, route: Route | None) -> AbstractContextManager[Any]:
        return self.bank.routed(route) if route else nullcontext()

    def _answer_row_by_row(
        self, batch: QuestionBatch, route: Route | None, listeners: Sequence[Listener]
    ) -> Answers:
        """Answer questions one by one, for bases that cannot read several tokens after a cache."""
        texts, likelihoods = list[str](), list[Tensor]()
        for row in range(len(batch.questions)):
            with self._routed(route.of_rows([row]) if route else None):
                answers = answer_alone(
                    self.base,
                    self.tokenizer,
                    batch,
                    row,
                    self.max_new_tokens,
                    self.decoding,
                    listeners[row : row + 1],
                )
            texts += answers.texts
            likelihoods.append(answers.nll)
        return Answers(texts, torch.cat(likelihoods))

    def _entropy_row_by_row(self, batch: QuestionBatch, route: Route | None) -> Tensor:
        entropies = []
        for row in range(len(batch.questions)):
            prompt = batch.input_ids[row][batch.attention_mask[row].bool()]
            with self._routed(route.of_rows([row]) if route else None):
                hidden = last_hidden_states(self.base, prompt[None])[:, -1]
            entropies.append(entropy_of(self.base, hidden))
        return torch.cat(entropies)
