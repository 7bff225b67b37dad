"""The texts that models read: the published prompts, and their tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from string import Formatter
from typing import TYPE_CHECKING, Literal, NamedTuple

from prag_lightning.chat_frame import chat_frame

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TemplateName = Literal["direct", "chain_of_thought"]


@dataclass(frozen=True)
class Exemplar:
    """A question and its answer, written out as the model is to answer, as an example."""

    question: str
    answer: str


@dataclass(frozen=True)
class PromptTemplate:
    """The wording of a prompt; by default the published one (Su et al. 2025, arXiv:2501.15915).

    Args:
        user: The user's turn; fields ``{passages}``, ``{question}`` and, if it takes examples,
            ``{exemplars}``.
        passage: One document of it; fields ``{number}``, from 1, and ``{text}``.
        exemplar: One example of it; fields ``{question}`` and ``{answer}``.
        assistant: The assistant's turn in training; fields ``{answer}`` and ``{full_answer}``.
        assistant_start: How the assistant's turn begins in generation. It ends without a space,
            for a space belongs to the token of the word after it.

    Raises:
        ValueError: If a field is unknown or missing, or the assistant's turn does not begin with
            ``assistant_start``.
    """

    user: str = (
        "You should answer the question by referring to the knowledge provided below and "
        "integrating your own knowledge.\n{passages}\n\nQuestion: {question}"
    )
    passage: str = "Passage {number}: {text}\n"
    exemplar: str = "Question: {question}\nAnswer: {answer}\n\n"
    assistant: str = "The answer is {answer}"
    assistant_start: str = "The answer is"

    def __post_init__(self) -> None:
        """Check the fields."""
        _check_fields("user", self.user, {"passages", "question"}, {"exemplars"})
        _check_fields("passage", self.passage, {"text"}, {"number"})
        _check_fields("exemplar", self.exemplar, {"question", "answer"})
        _check_fields("assistant", self.assistant, set(), {"answer", "full_answer"})
        start = self.assistant_start
        if start != start.rstrip() or not self.assistant.startswith(start):
            raise ValueError(
                f"the template's 'assistant_start' is {start!r}; it must end without a space, and "
                f"'assistant' ({self.assistant!r}) begin with it"
            )

    @property
    def reasons(self) -> bool:
        """Whether the answer comes at the end of a chain of thought."""
        return "full_answer" in _fields(self.assistant)

    @property
    def takes_exemplars(self) -> bool:
        """Whether there is a place for examples."""
        return "exemplars" in _fields(self.user)

    def user_text(
        self, question: str, passages: Sequence[str] = (), exemplars: Sequence[Exemplar] = ()
    ) -> str:
        """Return the user's turn about ``question``, with ``passages`` and ``exemplars`` in it."""
        numbered = (
            self.passage.format(number=number, text=text)
            for number, text in enumerate(passages, start=1)
        )
        return self.user.format(
            passages="".join(numbered),
            question=clean_question(question),
            exemplars=self.exemplar_text(exemplars),
        )

    def exemplar_text(self, exemplars: Sequence[Exemplar]) -> str:
        """Return the examples as they stand in the user's turn."""
        return "".join(self.exemplar.format(**vars(exemplar)) for exemplar in exemplars)

    def assistant_text(self, answer: str, full_answer: str | None = None) -> str:
        """Return the assistant's turn that gives ``answer``, said in a sentence if it reasons."""
        return self.assistant.format(
            answer=clean_answer(answer), full_answer=clean_answer(full_answer or answer)
        )


def _fields(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


def _check_fields(
    name: str, text: str, required: set[str], allowed: set[str] | frozenset[str] = frozenset()
) -> None:
    try:
        found = _fields(text)
    except ValueError as error:
        raise ValueError(f"the template's '{name}' is {text!r}: {error}") from error
    wrong = sorted((required - found) | (found - required - allowed))
    if wrong or not found:
        known = ", ".join(f"{{{field}}}" for field in sorted(required | allowed))
        named = ", ".join(f"{{{field}}}" for field in wrong) or "none of them"
        raise ValueError(
            f"the template's '{name}' is {text!r}; its fields are {known}: mind {named} "
            "(and write other braces twice)"
        )


TEMPLATES: dict[TemplateName, PromptTemplate] = {
    "direct": PromptTemplate(),
    # Our own wording of the published experiments' other prompt.
    "chain_of_thought": PromptTemplate(
        user="{exemplars}{passages}\nThink step by step before you answer.\n\nQuestion: {question}",
        assistant="Answer: {full_answer} So the answer is {answer}",
        assistant_start="Answer:",
    ),
}


def find_template(template: PromptTemplate | TemplateName) -> PromptTemplate:
    """Return the template of a name; a template is itself."""
    return template if isinstance(template, PromptTemplate) else TEMPLATES[template]


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
    template: PromptTemplate = PromptTemplate()
    exemplars: tuple[Exemplar, ...] = ()

    def __post_init__(self) -> None:
        """Check that the exemplars have a place."""
        if self.exemplars and not self.template.takes_exemplars:
            raise ValueError(
                "there are exemplars, but the template's 'user' has no field {exemplars} for them; "
                "add one, or leave --data.exemplars out"
            )

    @property
    def wording(self) -> tuple[str, ...]:
        """All that a prompt holds besides its question, passages and answer.

        That the chat template adds is in tokens.
        """
        exemplars = self.template.exemplar_text(self.exemplars)
        return (*vars(self.template).values(), exemplars, str(self.frame))

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
        """
        turn = self._encode_text(self.template.assistant_text(answer, full_answer))
        if self.tokenizer.eos_token_id is not None:
            turn = [*turn, self.tokenizer.eos_token_id]
        user, is_cut = self._encode_user(question, passages, _room(max_tokens, turn))
        return TrainingTokens(user + turn, len(user), is_cut)

    def encode_generation(
        self, question: str, passages: Sequence[str] = (), max_tokens: int | None = None
    ) -> list[int]:
        """Return the token ids after which a model goes on with the answer."""
        start = self._encode_text(self.template.assistant_start)
        return self._encode_user(question, passages, _room(max_tokens, start))[0] + start

    def encode_answered(
        self, question: str, passages: Sequence[str], answer: str, max_tokens: int | None = None
    ) -> tuple[list[int], int]:
        """Return the token ids up to the end of ``answer``, and where the answer begins in them.

        Behind a chain of thought, which only the model can write, there is no answer.
        """
        prompt = self.encode_generation(question, passages, max_tokens)
        if self.template.reasons:
            return prompt, len(prompt)
        start = self._encode_text(self.template.assistant_start)
        whole = self._encode_text(self.template.assistant.format(answer=answer.strip()))
        return prompt[: len(prompt) - len(start)] + whole, len(prompt)

    def encode_plain(self, text: str, max_tokens: int | None = None) -> TrainingTokens:
        """Return the token ids of a text by itself, as in pretraining, cut where it is too long."""
        start: list[int] = self.tokenizer("").input_ids
        whole = start + self._encode_text(text)
        ids = whole[:max_tokens]
        return TrainingTokens(ids, 0, len(ids) < len(whole))

    def encode_user_text(self, text: str) -> list[int]:
        """Return the token ids of a user's turn of any text; the assistant's comes next."""
        head, tail = self.frame
        return head + self._encode_text(text) + tail

    def _encode_user(
        self, question: str, passages: Sequence[str], max_tokens: int | None
    ) -> tuple[list[int], bool]:
        """Return the token ids of the user's turn, and whether passages were cut."""
        whole = passages
        while True:
            ids = self.encode_user_text(self.template.user_text(question, passages, self.exemplars))
            if max_tokens is None or len(ids) <= max_tokens or not any(passages):
                return ids, passages is not whole
            # All passages by the same share; a little more than needed, for words break unevenly.
            keep = 0.98 * max_tokens / len(ids)
            passages = [text[: int(len(text) * keep)] for text in passages]

    def _encode_text(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(
            text, add_special_tokens=False, split_special_tokens=True
        ).input_ids
        return ids

    @cached_property
    def frame(self) -> tuple[list[int], list[int]]:
        """Token ids before and after the user's words."""
        return chat_frame(self.tokenizer)
