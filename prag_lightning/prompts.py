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

    >>> clean_question(" who ? ")
    'who?'
    """
    return question.strip().rstrip("?").rstrip() + "?"


def clean_answer(answer: str) -> str:
    """Return the answer stripped, ending in a full stop.

    >>> clean_answer("Paris ")
    'Paris.'
    """
    answer = answer.strip()
    return answer if answer.endswith(".") else answer + "."


@dataclass(frozen=True)
class PromptEncoder:
    """Turns questions into token ids with a tokenizer's own chat template, where it has one.

    A document's text is data: what looks like a special token in it is read as plain characters.
    """

    tokenizer: "PreTrainedTokenizerBase"
    template: PromptTemplate = PromptTemplate()

    def encode_training(
        self, question: str, passages: Sequence[str], answer: str
    ) -> tuple[list[int], int]:
        """Return a training prompt's token ids and how many of them come before the answer's turn."""
        user = self._encode_user(question, passages)
        return user + self._encode_answer(answer), len(user)

    def encode_generation(self, question: str, passages: Sequence[str] = ()) -> list[int]:
        """Return the token ids after which a model goes on with the answer."""
        user = self._encode_user(question, passages)
        return user + self._encode_text(self.template.assistant_start)

    def _encode_user(self, question: str, passages: Sequence[str]) -> list[int]:
        head, tail = self._frame
        return head + self._encode_text(self.template.user_text(question, passages)) + tail

    def _encode_answer(self, answer: str) -> list[int]:
        ids = self._encode_text(self.template.assistant_text(answer))
        end = self.tokenizer.eos_token_id
        return ids if end is None else [*ids, end]

    def _encode_text(self, text: str) -> list[int]:
        return self.tokenizer(
            text, add_special_tokens=False, split_special_tokens=True
        ).input_ids

    @cached_property
    def _frame(self) -> tuple[list[int], list[int]]:
        """Token ids before and after the user's words."""
        if self.tokenizer.chat_template is None:
            newline = self.tokenizer("\n", add_special_tokens=False).input_ids
            return self.tokenizer("").input_ids, newline
        mark = "\u2403user\u2403"
        chat = [{"role": "user", "content": mark}]
        rendered = self.tokenizer.apply_chat_template(
            chat, tokenize=False, add_generation_prompt=True
        )
        head, found, tail = rendered.partition(mark)
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
