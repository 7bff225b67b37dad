"""Encoding prompts as token ids, using a tokenizer's chat template."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from prag_lightning.language_model.chat_frame import ChatFrame, chat_frame
from prag_lightning.language_model.plain_text import PlainText, begin_ids
from prag_lightning.language_model.templates import TEMPLATES, Exemplar, PromptTemplate

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Token id at masked positions. Some tokenizers have no padding token, or one that their model
# does not know.
PADDING = 0


def _room(max_tokens: int | None, turn: Sequence[int]) -> int | None:
    """Return the token limit for the user's turn if ``turn`` follows it."""
    return None if max_tokens is None else max(0, max_tokens - len(turn))


class TrainingTokens(NamedTuple):
    """A training prompt.

    Args:
        ids: Its token ids.
        num_user_tokens: Number of tokens before the assistant's turn.
        is_cut: Whether passages were truncated to make it fit.
    """

    ids: list[int]
    num_user_tokens: int
    is_cut: bool


@dataclass(frozen=True)
class PromptEncoder:
    """Encodes questions as token ids, using the tokenizer's chat template if it has one.

    Special tokens in a document's text are encoded as plain characters.

    Raises:
        ValueError: If there are exemplars, but no place for them in the template.
    """

    tokenizer: "PreTrainedTokenizerBase"
    template: PromptTemplate = TEMPLATES["direct"]
    exemplars: tuple[Exemplar, ...] = ()

    def __post_init__(self) -> None:
        """Check that the template has a place for exemplars."""
        if self.exemplars and not self.template.takes_exemplars:
            raise ValueError(
                "there are exemplars, but the template's 'user' has no field {exemplars} for them; "
                "add one, or leave --data.exemplars out"
            )

    def for_training(self, few_shot: bool) -> "PromptEncoder":
        """Return the encoder for training prompts, with or without exemplars."""
        return self if few_shot else replace(self, exemplars=())

    @property
    def wording(self) -> tuple[str, ...]:
        """All parts of a prompt other than the question, passages and answer.

        Text that the chat template adds is given as token ids.
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
        """Encode a training prompt.

        If it would exceed ``max_tokens``, the passages are truncated, never the answer.

        Args:
            question: The question.
            passages: Passages for the prompt, best first.
            answer: The answer to learn.
            max_tokens: Maximum number of tokens; None for no limit.
            full_answer: The answer as a sentence, for chain-of-thought templates.
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
        """Encode a prompt after which the model generates the answer.

        Args:
            question: The question.
            passages: Passages for the prompt, best first; truncated if there are too many tokens.
            max_tokens: Maximum number of tokens; None for no limit.
        """
        start = self._text.encode(self.template.assistant_start)
        return self._encode_user(question, passages, _room(max_tokens, start))[0] + start

    def encode_answered(
        self, question: str, passages: Sequence[str], answer: str, max_tokens: int | None = None
    ) -> tuple[list[int], list[int]]:
        """Return the token ids of ``encode_generation``, and those of ``answer`` after them.

        With a chain-of-thought template there are no answer tokens, since the model writes the
        thought.

        Args:
            question: The question.
            passages: Passages for the prompt, best first.
            answer: The correct answer.
            max_tokens: Maximum number of prompt tokens; None for no limit.
        """
        prompt = self.encode_generation(question, passages, max_tokens)
        if self.template.reasons:
            return prompt, []
        turn = self.template.assistant.format(answer=answer.strip())
        return prompt, self._encode_turn(turn)[1]

    def encode_plain(self, text: str, max_tokens: int | None = None) -> TrainingTokens:
        """Encode a text without a prompt, as in pretraining, truncated if it is too long.

        Args:
            text: The text.
            max_tokens: Maximum number of tokens; None for no limit.
        """
        whole = begin_ids(self.tokenizer) + self._text.encode(text)
        ids = whole[:max_tokens]
        return TrainingTokens(ids, 0, len(ids) < len(whole))

    def encode_user_text(self, text: str) -> list[int]:
        """Encode any text as a user's turn, up to the assistant's message."""
        head, tail = self.frame
        return head + self._text.encode(text) + tail

    def _encode_user(
        self, question: str, passages: Sequence[str], max_tokens: int | None
    ) -> tuple[list[int], bool]:
        """Return the token ids of the user's turn, and whether passages were truncated."""
        whole = passages
        while True:
            ids = self.encode_user_text(self.template.user_text(question, passages, self.exemplars))
            if max_tokens is None or len(ids) <= max_tokens or not any(passages):
                return ids, passages is not whole
            # All passages are shortened by the same share, and by slightly more than needed, since
            # token lengths vary.
            keep = 0.98 * max_tokens / len(ids)
            passages = [text[: int(len(text) * keep)] for text in passages]

    def _encode_turn(self, text: str) -> tuple[list[int], list[int]]:
        """Return the token ids of the start and the rest of the assistant's turn.

        In generation, the start is tokenized before the rest is known. If tokens of the whole turn
        would cross this boundary, the two parts are tokenized separately in training as well.
        """
        start = self._text.encode(self.template.assistant_start)
        whole = self._text.encode(text)
        if whole[: len(start)] == start:
            return start, whole[len(start) :]
        return start, self._text.encode(text[len(self.template.assistant_start) :])

    @cached_property
    def frame(self) -> tuple[list[int], list[int]]:
        """Token ids before and after the user's message."""
        head, tail = (
            self.tokenizer(text, add_special_tokens=False).input_ids for text in self._chat
        )
        if self.tokenizer.chat_template is None:
            head = begin_ids(self.tokenizer)
        return head, tail

    @property
    def fixed_ids(self) -> list[int]:
        """Token ids that every prompt contains."""
        head, tail = self.frame
        end = self.tokenizer.eos_token_id
        return [*begin_ids(self.tokenizer), *head, *tail, *([] if end is None else [end])]

    @cached_property
    def _chat(self) -> ChatFrame:
        return chat_frame(self.tokenizer)

    @cached_property
    def _text(self) -> PlainText:
        return PlainText(self.tokenizer, self._chat.turn_marks(self.tokenizer))
