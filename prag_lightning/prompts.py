"""The texts that models read: the published prompt, and its tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class PromptTemplate:
    """The wording of a prompt (Su et al. 2025, arXiv:2501.15915).

    Args:
        user: The user's turn; fields ``{passages}`` and ``{question}``.
        passage: One document of it; fields ``{number}``, from 1, and ``{text}``.
        assistant: The assistant's turn in training; field ``{answer}``.
        assistant_start: How the assistant's turn begins in generation. It ends without a space,
            for a space belongs to the token of the word after it.
    """

    user: str = (
        "You should answer the question by referring to the knowledge provided below and "
        "integrating your own knowledge.\n{passages}\n\nQuestion: {question}"
    )
    passage: str = "Passage {number}: {text}\n"
    assistant: str = "The answer is {answer}"
    assistant_start: str = "The answer is"

    def user_text(self, question: str, passages: Sequence[str] = ()) -> str:
        """Return the user's turn about ``question``, with ``passages`` in it."""
        numbered = (
            self.passage.format(number=number, text=text)
            for number, text in enumerate(passages, start=1)
        )
        return self.user.format(passages="".join(numbered), question=clean_question(question))

    def assistant_text(self, answer: str) -> str:
        """Return the assistant's turn that gives ``answer``."""
        return self.assistant.format(answer=clean_answer(answer))


def clean_question(question: str) -> str:
    """Return the question stripped, ending in exactly one question mark.

    >>> clean_question(" who ? ?")
    'who?'
    """
    words = question.strip()
    while words.endswith("?"):
        words = words.rstrip("?").rstrip()
    return words + "?"


def clean_answer(answer: str) -> str:
    """Return the answer stripped, ending in a full stop.

    >>> clean_answer("Paris ")
    'Paris.'
    """
    answer = answer.strip()
    return answer if answer.endswith(".") else answer + "."


def _room(max_tokens: int | None, turn: Sequence[int]) -> int | None:
    """Return how many tokens are left before ``turn``."""
    return None if max_tokens is None else max(0, max_tokens - len(turn))


@dataclass(frozen=True)
class PromptEncoder:
    """Turns questions into token ids with a tokenizer's own chat template, where it has one.

    A document's text is data: what looks like a special token in it is read as plain characters.
    """

    tokenizer: "PreTrainedTokenizerBase"
    template: PromptTemplate = PromptTemplate()

    def encode_training(
        self, question: str, passages: Sequence[str], answer: str, max_tokens: int | None = None
    ) -> tuple[list[int], int]:
        """Return a training prompt's token ids, and how many come before the assistant's turn.

        Where they would be more than ``max_tokens``, the passages are cut, never the answer.
        """
        turn = self._encode_text(self.template.assistant_text(answer))
        if self.tokenizer.eos_token_id is not None:
            turn = [*turn, self.tokenizer.eos_token_id]
        user = self._encode_user(question, passages, _room(max_tokens, turn))
        return user + turn, len(user)

    def encode_generation(
        self, question: str, passages: Sequence[str] = (), max_tokens: int | None = None
    ) -> list[int]:
        """Return the token ids after which a model goes on with the answer."""
        start = self._encode_text(self.template.assistant_start)
        return self._encode_user(question, passages, _room(max_tokens, start)) + start

    def encode_answered(
        self, question: str, passages: Sequence[str], answer: str, max_tokens: int | None = None
    ) -> tuple[list[int], int]:
        """Return the token ids up to the end of ``answer``, and where the answer begins in them."""
        prompt = self.encode_generation(question, passages, max_tokens)
        start = self._encode_text(self.template.assistant_start)
        whole = self._encode_text(self.template.assistant.format(answer=answer.strip()))
        return prompt[: len(prompt) - len(start)] + whole, len(prompt)

    def encode_plain(self, text: str, max_tokens: int | None = None) -> list[int]:
        """Return the token ids of a text by itself, as in pretraining, cut where it is too long."""
        start: list[int] = self.tokenizer("").input_ids
        return (start + self._encode_text(text))[:max_tokens]

    def encode_user_text(self, text: str) -> list[int]:
        """Return the token ids of a user's turn of any text; the assistant's comes next."""
        head, tail = self._frame
        return head + self._encode_text(text) + tail

    def _encode_user(
        self, question: str, passages: Sequence[str], max_tokens: int | None
    ) -> list[int]:
        while True:
            ids = self.encode_user_text(self.template.user_text(question, passages))
            if max_tokens is None or len(ids) <= max_tokens or not any(passages):
                return ids
            # All passages by the same share; a little more than needed, for words break unevenly.
            keep = 0.98 * max_tokens / len(ids)
            passages = [text[: int(len(text) * keep)] for text in passages]

    def _encode_text(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(
            text, add_special_tokens=False, split_special_tokens=True
        ).input_ids
        return ids

    @cached_property
    def _frame(self) -> tuple[list[int], list[int]]:
        """Token ids before and after the user's words."""
        if self.tokenizer.chat_template is None:
            newline = self.tokenizer("\n", add_special_tokens=False).input_ids
            return self.tokenizer("").input_ids, newline
        mark = "\u2403user\u2403"
        chat = [{"role": "user", "content": mark}]
        rendered = str(
            self.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        )
        head, found, tail = str(rendered).partition(mark)
        if not found:
            raise ValueError(
                f"the chat template of {self.tokenizer.name_or_path} leaves the user's words out; "
                "use a tokenizer with another template, or with none"
            )
        encode = self.tokenizer
        return (
            encode(head, add_special_tokens=False).input_ids,
            encode(tail, add_special_tokens=False).input_ids,
        )
