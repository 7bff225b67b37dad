"""The token ids of prompts, in a tokenizer's own chat template."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from prag_lightning.language_model.chat_frame import ChatFrame, chat_frame
from prag_lightning.language_model.plain_text import PlainText, begin_ids
from prag_lightning.language_model.templates import TEMPLATES, Exemplar, PromptTemplate

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# What stands in for missing tokens, where a mask leaves them out. Not every tokenizer has a token
# for it, and some have one that their model has not.
PADDING = 0


def _room(max_tokens: int | None, turn: Sequence[int]) -> int | None:
    """Return how many tokens the user's turn may have, with ``turn`` behind it."""
    return None if max_tokens is None else max(0, max_tokens - len(turn))


class TrainingTokens(NamedTuple):
    """A training prompt.

    Args:
        ids: Its token ids.
        num_user_tokens: How many come before the assistant's turn.
        is_cut: Whether its passages were cut to make it fit.
    """

    ids: list[int]
    num_user_tokens: int
    is_cut: bool


@dataclass(frozen=True)
class PromptEncoder:
    """Turns questions into token ids with a tokenizer's own chat template, where it has one.

    A document's text is data: what looks like a special token in it is read as plain characters.

    Raises:
        ValueError: If there are exemplars and the template has no place for them.
    """

    tokenizer: "PreTrainedTokenizerBase"
    template: PromptTemplate = TEMPLATES["direct"]
    exemplars: tuple[Exemplar, ...] = ()

    def __post_init__(self) -> None:
        """Check that the exemplars have a place."""
        if self.exemplars and not self.template.takes_exemplars:
            raise ValueError(
                "there are exemplars, but the template's 'user' has no field {exemplars} for them; "
                "add one, or leave --data.exemplars out"
            )

    def for_training(self, few_shot: bool) -> "PromptEncoder":
        """Return what encodes the prompts of training, with the exemplars or without."""
        return self if few_shot else replace(self, exemplars=())

    @property
    def wording(self) -> tuple[str, ...]:
        """All that a prompt holds besides its question, passages and answer.

        What the chat template adds is written as token ids.
        """
        exemplars = self.template.exemplar_text(self.exemplars)
        return (*self.template.wording, exemplars, str(self.frame))

    def encode_training(
        self,
        question: str,
        passages: Sequence[str],
        answer: str,
        max_tokens: int | None = None,
        full_answer: str | None = None,
    ) -> TrainingTokens:
        """Return the token ids of a training prompt.

        Where they would be more than ``max_tokens``, the passages are cut, never the answer.

        Args:
            question: What is asked.
            passages: Texts to read, best first.
            answer: What the model is to say.
            max_tokens: How many tokens there may be; None for any number.
            full_answer: The answer in a sentence, for a template that reasons.
        """
        start, rest = self._encode_turn(self.template.assistant_text(answer, full_answer))
        turn = start + rest
        if self.tokenizer.eos_token_id is not None:
            turn = [*turn, self.tokenizer.eos_token_id]
        user, is_cut = self._encode_user(question, passages, _room(max_tokens, turn))
        return TrainingTokens(user + turn, len(user), is_cut)

    def encode_generation(
        self, question: str, passages: Sequence[str] = (), max_tokens: int | None = None
    ) -> list[int]:
        """Return the token ids after which a model goes on with the answer.

        Args:
            question: What is asked.
            passages: Texts to read, best first; cut where there would be too many tokens.
            max_tokens: How many tokens there may be; None for any number.
        """
        start = self._text.encode(self.template.assistant_start)
        return self._encode_user(question, passages, _room(max_tokens, start))[0] + start

    def encode_answered(
        self, question: str, passages: Sequence[str], answer: str, max_tokens: int | None = None
    ) -> tuple[list[int], list[int]]:
        """Return the token ids of ``encode_generation``, and those of ``answer`` behind them.

        Behind a chain of thought, which only the model can write, there is no answer.

        Args:
            question: What is asked.
            passages: Texts to read, best first.
            answer: What would be right.
            max_tokens: How many tokens the prompt may have; None for any number.
        """
        prompt = self.encode_generation(question, passages, max_tokens)
        if self.template.reasons:
            return prompt, []
        turn = self.template.assistant.format(answer=answer.strip())
        return prompt, self._encode_turn(turn)[1]

    def encode_plain(self, text: str, max_tokens: int | None = None) -> TrainingTokens:
        """Return the token ids of a text by itself, as in pretraining, cut where it is too long.

        Args:
            text: The text.
            max_tokens: How many tokens are kept; None for all.
        """
        whole = begin_ids(self.tokenizer) + self._text.encode(text)
        ids = whole[:max_tokens]
        return TrainingTokens(ids, 0, len(ids) < len(whole))

    def encode_user_text(self, text: str) -> list[int]:
        """Return the token ids of a user's turn of any text; the assistant's comes next."""
        head, tail = self.frame
        return head + self._text.encode(text) + tail

    def _encode_user(
        self, question: str, passages: Sequence[str], max_tokens: int | None
    ) -> tuple[list[int], bool]:
        """Return the token ids of the user's turn, and whether passages were cut."""
        whole = passages
        while True:
            ids = self.encode_user_text(self.template.user_text(question, passages, self.exemplars))
            if max_tokens is None or len(ids) <= max_tokens or not any(passages):
                return ids, passages is not whole
            # Every passage loses the same share, and a little more than needed: tokens differ in
            # length.
            keep = 0.98 * max_tokens / len(ids)
            passages = [text[: int(len(text) * keep)] for text in passages]

    def _encode_turn(self, text: str) -> tuple[list[int], list[int]]:
        """Return the token ids of the assistant's turn: of its start, and of what follows.

        In generation the start's tokens are there before the rest is known. Where tokens of the
        whole would reach over its end, the two are read apart, in training, too.
        """
        start = self._text.encode(self.template.assistant_start)
        whole = self._text.encode(text)
        if whole[: len(start)] == start:
            return start, whole[len(start) :]
        return start, self._text.encode(text[len(self.template.assistant_start) :])

    @cached_property
    def frame(self) -> tuple[list[int], list[int]]:
        """Token ids before and after the user's words."""
        head, tail = (
            self.tokenizer(text, add_special_tokens=False).input_ids for text in self._chat
        )
        if self.tokenizer.chat_template is None:
            head = begin_ids(self.tokenizer)
        return head, tail

    @property
    def fixed_ids(self) -> list[int]:
        """The token ids that a prompt holds whatever is asked."""
        head, tail = self.frame
        end = self.tokenizer.eos_token_id
        return [*begin_ids(self.tokenizer), *head, *tail, *([] if end is None else [end])]

    @cached_property
    def _chat(self) -> ChatFrame:
        return chat_frame(self.tokenizer)

    @cached_property
    def _text(self) -> PlainText:
        return PlainText(self.tokenizer, self._chat.turn_marks(self.tokenizer))
