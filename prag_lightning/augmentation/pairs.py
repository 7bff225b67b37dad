"""Parsing question-answer pairs from JSON or lines in a model's answer, even if malformed."""

import re
from typing import Annotated

import json_repair
from pydantic import BaseModel, BeforeValidator, StringConstraints, ValidationError

from prag_lightning.augmentation.answers import AnswerError, read_answer
from prag_lightning.augmentation.pair_lines import find_lines

_NUMBERING = re.compile(r"\A\(?\d{1,3}[.):]\s*")


def _as_text(value: object) -> object:
    """Convert a list to its items joined by commas, and a number to digits; keep other values."""
    if isinstance(value, list) and value:
        return ", ".join(str(_as_text(item)) for item in value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return value


_Text = Annotated[
    str, BeforeValidator(_as_text), StringConstraints(min_length=1, strip_whitespace=True)
]


class FoundPair(BaseModel):
    """A question and answer as a model gave them; the answer as a sentence is optional."""

    question: _Text
    answer: _Text
    full_answer: _Text | None = None


def read_pairs(text: str, is_cut: bool = False) -> tuple[list[FoundPair], str]:
    """Return the question-answer pairs in a model's answer, and the first problem with others.

    They are JSON objects with ``question``, ``answer`` and optionally ``full_answer``, or lines
    that begin with ``Q:`` and ``A:``. Text and code fences around the JSON, single quotes and
    missing commas are accepted. Pairs that are incomplete, or cut off at the end, are dropped.

    Args:
        text: The model's answer.
        is_cut: Whether the answer was cut off.

    Returns:
        The pairs, at least one, and the first problem of a dropped pair; empty if there is none.

    Raises:
        AnswerError: If there is no valid pair.
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
    """Return the objects in the list in an answer."""
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
        # Text with brackets after the list is parsed as a second list.
        items = items[0]
    objects = [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    # If the parser closed an object at the end of the answer, it may be cut off.
    return objects[: found.count("}")]


def _first_problem(number: int, error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    return f"{problem['loc'][0]} of number {number}: {problem['msg']}"
