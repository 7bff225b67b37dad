"""Prompt templates: the published one, chain of thought, and users' own."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from pathlib import Path
from string import Formatter

from prag_lightning.documents.yaml_text import read_yaml

# Question marks of the Latin, full-width, Arabic, Greek, Armenian and Ethiopic scripts.
_QUESTION_MARKS = "?\uff1f\u061f\u037e\u055e\u1367"
_GREEK = re.compile("[\u0370-\u03ff]")
# Sentence-ending marks of these and of the Chinese, Indic, Urdu and Burmese scripts.
_ENDS = _QUESTION_MARKS + ".!\u2026\u3002\uff0e\uff61\uff01\u0964\u0965\u06d4\u0589\u1362\u104b"
_CLOSING_QUOTES = ("", "\u201d", "\u300d", "\u300f", "\u00bb", '"')
_SENTENCE_ENDS = tuple(end + quote for end in _ENDS for quote in _CLOSING_QUOTES)


@dataclass(frozen=True)
class Exemplar:
    """An example question with the answer in the form that the model should give."""

    question: str
    answer: str


@dataclass(frozen=True)
class PromptTemplate:
    """The wording of a prompt; by default the published one (Su et al. 2025, arXiv:2501.15915).

    Args:
        user: The user's turn, with the fields ``{passages}``, ``{question}`` and optionally
            ``{exemplars}``.
        passage: A passage in it, with the fields ``{number}``, from 1, and ``{text}``.
        exemplar: An exemplar in it, with the fields ``{question}`` and ``{answer}``.
        assistant: The assistant's turn in training, with the fields ``{answer}`` and
            ``{full_answer}``.
        assistant_start: Start of the assistant's turn in generation. It has no trailing space,
            because a space belongs to the token of the next word.
        answer_mark: Text before the answer at the end of a chain of thought; case-insensitive.

    Raises:
        ValueError: If a field is unknown or missing, the assistant's turn does not start with
            ``assistant_start``, or ``answer_mark`` is empty.
    """

    user: str = (
        "You should answer the question by referring to the knowledge provided below and "
        "integrating your own knowledge.\n{passages}\n\nQuestion: {question}"
    )
    passage: str = "Passage {number}: {text}\n"
    exemplar: str = "Question: {question}\nAnswer: {answer}\n\n"
    assistant: str = "The answer is {answer}"
    assistant_start: str = "The answer is"
    answer_mark: str = "the answer is"

    def __post_init__(self) -> None:
        """Check the fields."""
        _check_fields("user", self.user, {"passages", "question"}, {"exemplars"})
        _check_fields("passage", self.passage, {"text"}, {"number"})
        _check_fields("exemplar", self.exemplar, {"question", "answer"})
        _check_fields("assistant", self.assistant, set(), {"answer", "full_answer"})
        start = self.assistant_start
        if start != start.rstrip() or not self.assistant.startswith(start) or {*start} & {*"{}"}:
            raise ValueError(
                f"the template's 'assistant_start' is {start!r}; it must end without a space and "
                f"hold no braces, and 'assistant' ({self.assistant!r}) begin with it"
            )
        if not self.answer_mark.strip():
            raise ValueError("the template's 'answer_mark' is empty; say what answers stand behind")

    @property
    def reasons(self) -> bool:
        """Whether the answer follows a chain of thought."""
        return "full_answer" in _fields(self.assistant)

    @property
    def wording(self) -> tuple[str, ...]:
        """All texts of the prompt; the answer mark is not part of it."""
        return self.user, self.passage, self.exemplar, self.assistant, self.assistant_start

    @property
    def takes_exemplars(self) -> bool:
        """Whether the template has a place for exemplars."""
        return "exemplars" in _fields(self.user)

    def user_text(
        self, question: str, passages: Sequence[str] = (), exemplars: Sequence[Exemplar] = ()
    ) -> str:
        """Return the user's turn for a question, with passages and exemplars.

        Args:
            question: The question.
            passages: Passages for the prompt, best first.
            exemplars: Worked examples to include.
        """
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
        """Return the exemplars as they appear in the user's turn."""
        return "".join(self.exemplar.format(**vars(exemplar)) for exemplar in exemplars)

    def assistant_text(self, answer: str, full_answer: str | None = None) -> str:
        """Return the assistant's turn that gives ``answer``.

        Args:
            answer: The short answer.
            full_answer: The answer as a sentence, for chain-of-thought templates.
        """
        return self.assistant.format(
            answer=clean_answer(answer), full_answer=clean_answer(full_answer or answer)
        )


def _fields(text: str) -> set[str]:
    return {
        # Refuse width specifications, which could exhaust the memory.
        name + (f"!{conversion}" if conversion else "") + (f":{width}" if width else "")
        for _, name, width, conversion in Formatter().parse(text)
        if name is not None
    }


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


TEMPLATES = {
    "direct": PromptTemplate(),
    # Our own wording of the second prompt in the published experiments.
    "chain_of_thought": PromptTemplate(
        user="{exemplars}{passages}\nThink step by step before you answer.\n\nQuestion: {question}",
        assistant="Answer: {full_answer} So the answer is {answer}",
        assistant_start="Answer:",
    ),
}


def find_template(template: str | Mapping[str, str] | PromptTemplate) -> PromptTemplate:
    """Return the template given by a name, a YAML file of its fields, or the fields.

    Args:
        template: Name, file, fields, or a template, which is returned as it is.

    Raises:
        ValueError: If there is no such template, or its fields are invalid.
    """
    if isinstance(template, PromptTemplate):
        return template
    if not isinstance(template, str):
        return _make_template(template, "the template")
    if template in TEMPLATES:
        return TEMPLATES[template]
    file = Path(template)
    if not file.is_file():
        raise ValueError(
            f"there is no template '{template}', nor such a file; choose {', '.join(TEMPLATES)}, "
            "or write a YAML file with the fields of one"
        )
    return _make_template(read_yaml(file), str(file))


def _make_template(fields: object, source: str) -> PromptTemplate:
    known = [field.name for field in dataclass_fields(PromptTemplate)]
    expected = f"{source}: the fields of a template are {', '.join(known)}"
    if not isinstance(fields, Mapping):
        raise ValueError(f"{expected}, not {type(fields)}")
    if not {*fields} <= {*known}:
        # Keys in a file may be of any type.
        raise ValueError(f"{expected}, not {sorted(map(str, {*fields} - {*known}))}")
    if other := [name for name, text in fields.items() if not isinstance(text, str)]:
        raise ValueError(f"{source}: '{other[0]}' is no text; put it in quotes")
    return PromptTemplate(**fields)


def clean_question(question: str) -> str:
    """Return the question stripped, ending with exactly one question mark of its own script.

    >>> clean_question(" who ? ?")
    'who?'
    >>> clean_question("日本の首都は？")
    '日本の首都は？'
    """
    words = question.strip()
    # A Greek question mark looks like a semicolon and is often typed as one.
    marks = _QUESTION_MARKS + (";" if _GREEK.search(words) else "")
    mark = "?"
    while words and words[-1] in marks:
        mark = words[-1]
        words = words[:-1].rstrip()
    return words + mark


def clean_answer(answer: str) -> str:
    """Return the answer stripped, ending with a sentence-final mark.

    >>> clean_answer("Paris ")
    'Paris.'
    >>> clean_answer("東京。")
    '東京。'
    """
    answer = answer.strip()
    return answer if answer.endswith(_SENTENCE_ENDS) else f"{answer}."
