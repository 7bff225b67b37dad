"""What a language model's answer says: question-answer pairs from JSON, well-formed or not."""

import re
from typing import Annotated

import json_repair
from pydantic import BaseModel, BeforeValidator, StringConstraints, ValidationError

from prag_lightning.documents.records import QuestionAnswer

# Where a model that thinks aloud begins to answer.
_END_OF_THOUGHT = "</think>"
_REFUSAL = re.compile(
    r"(i['\u2019]?m|i am) (very |so )?(sorry|afraid|unable)|sorry\b|i apologi[sz]e"
    r"|(unfortunately, )?i (can['\u2019]?t|cannot|can not|won['\u2019]?t|will not)\b|as an ai\b",
    re.IGNORECASE,
)


class AnswerError(ValueError):
    """A model's answer is of no use; says why."""


def _as_text(value: object) -> object:
    """Return a list as its items joined by commas, a number in digits, else the value as it is."""
    if isinstance(value, list) and value:
        return ", ".join(str(_as_text(item)) for item in value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return value


_Text = Annotated[
    str, BeforeValidator(_as_text), StringConstraints(min_length=1, strip_whitespace=True)
]


class _Pair(BaseModel):
    question: _Text
    answer: _Text
    full_answer: _Text


def parse_rewrite(text: str) -> str:
    """Return a passage in a model's words.

    Raises:
        AnswerError: If the model gave nothing, or refused.
    """
    return _without_thoughts(text)


def parse_qas(text: str, num_qas: int) -> list[QuestionAnswer]:
    """Return the first ``num_qas`` question-answer pairs of a model's answer.

    The answer is meant to be a JSON list of objects with ``question``, ``answer`` and
    ``full_answer``. Words and code fences around it, single quotes, missing commas and the like
    are forgiven. Objects that lack a field, or that the end of the answer cut off, do not count.

    Raises:
        AnswerError: If there are fewer pairs, or the model gave nothing, or refused.
    """
    answer = _without_thoughts(text)
    pairs: list[QuestionAnswer] = []
    problem = ""
    for number, item in enumerate(_objects(answer), start=1):
        try:
            pair = _Pair.model_validate(item)
        except ValidationError as error:
            problem = problem or _first_problem(number, error)
        else:
            pairs.append(QuestionAnswer(**pair.model_dump()))
    if len(pairs) < num_qas:
        raise AnswerError(f"{len(pairs)} of {num_qas} question-answer pairs{problem}")
    return pairs[:num_qas]


def _without_thoughts(text: str) -> str:
    answer = text.rpartition(_END_OF_THOUGHT)[2].strip()
    if not answer:
        raise AnswerError("an empty answer")
    if _REFUSAL.match(answer):
        raise AnswerError("a refusal")
    return answer


def _objects(answer: str) -> list[dict[str, object]]:
    """Return the objects of the list in an answer."""
    start = re.search(r"\[\s*\{", answer) or re.search(r"\{", answer)
    if start is None:
        raise AnswerError("no JSON object in the answer")
    found = answer[start.start() :]
    if found.startswith("{"):
        found = f"[{found}"
    try:
        items = json_repair.loads(found)
    except (ValueError, RecursionError) as error:
        raise AnswerError("JSON that is nested too deeply") from error
    if isinstance(items, list) and items and isinstance(items[0], list):
        # Words with brackets after the list make a second one.
        items = items[0]
    objects = [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    # What the repair closed at the end of the answer may be half a word.
    return objects[: found.count("}")]


def _first_problem(number: int, error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    return f"; {problem['loc'][0]} of number {number}: {problem['msg']}"
