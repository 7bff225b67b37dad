"""Question-answer pairs in a model's answer, from JSON or from lines, well-formed or not."""

import re
from typing import Annotated

import json_repair
from pydantic import BaseModel, BeforeValidator, StringConstraints, ValidationError

from prag_lightning.augmentation.answers import AnswerError, read_answer
from prag_lightning.augmentation.pair_lines import find_lines

_NUMBERING = re.compile(r"\A\(?\d{1,3}[.):]\s*")


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


class FoundPair(BaseModel):
    """A question and its answer as a model gave them, perhaps without the answer in a sentence."""

    question: _Text
    answer: _Text
    full_answer: _Text | None = None


def read_pairs(text: str, is_cut: bool = False) -> tuple[list[FoundPair], str]:
    """Return the question-answer pairs of a model's answer, and what is wrong with the others.

    They stand in JSON objects with ``question``, ``answer`` and perhaps ``full_answer``, or in
    lines that begin with ``Q:`` and ``A:``. Words and code fences around JSON, single quotes and
    missing commas are forgiven. Pairs that lack a part, or that the end of the answer cut off, do
    not count.

    Args:
        text: What the model said.
        is_cut: Whether it was stopped before its end.

    Returns:
        The pairs, at least one, and the first problem of a pair that does not count, or nothing.

    Raises:
        AnswerError: If there is no pair.
    """
    answer = read_answer(text)
    lines = find_lines(answer)
    problem = ""
    for found in (_objects(answer), lines[:-1] if is_cut else lines):
        pairs: list[FoundPair] = []
        for number, fields in enumerate(found, start=1):
            try:
                pairs.append(_read_pair(fields))
            except ValidationError as error:
                problem = problem or _first_problem(number, error)
        if pairs:
            return pairs, problem
    raise AnswerError(problem or "neither JSON nor lines of Q: and A: with a pair")


def _read_pair(fields: dict[str, object]) -> FoundPair:
    names = {"q": "question", "a": "answer"}
    known = {name.casefold(): value for name, value in fields.items()}
    pair = FoundPair.model_validate({names.get(name, name): known[name] for name in known})
    return pair.model_copy(update={"question": _NUMBERING.sub("", pair.question) or pair.question})


def _objects(answer: str) -> list[dict[str, object]]:
    """Return the objects of the list in an answer."""
    start = re.search(r"\[\s*\{", answer) or re.search(r"\{", answer)
    if start is None:
        return []
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
    return f"{problem['loc'][0]} of number {number}: {problem['msg']}"
