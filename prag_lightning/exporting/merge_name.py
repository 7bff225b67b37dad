"""Names of merges: ``12+7``, ``12*1+7*0.25``, or ``prag:`` and a question."""

import json
import re
from typing import NamedTuple

from prag_lightning.documents.records import compose

_QUESTION = "prag:"
_LONGEST = 8192
_LARGEST_WEIGHT = 100.0
# An id in JSON's quotes, or one without the characters that have a meaning here.
_TERM = re.compile(
    r'\s*(?:(?P<quoted>"(?:[^"\\]|\\.)*")|(?P<plain>[^"+*]+))\s*(?:\*(?P<weight>[^"+*]+))?'
)


class MergeName(NamedTuple):
    """What the name of a merge asks for.

    Args:
        document_ids: The documents, best first; empty for those found for the question.
        weights: Weight of each; None to weigh them as the run does.
        question: The question whose documents are to be found; None if they are named.
    """

    document_ids: tuple[str, ...]
    weights: tuple[float, ...] | None = None
    question: str | None = None


def parse_merge_name(name: str) -> MergeName:
    r"""Return what the name of a merge asks for.

    Ids that contain ``+``, ``*`` or ``"``, or begin with ``prag:``, are quoted as in JSON.

    >>> parse_merge_name("12+7").document_ids
    ('12', '7')
    >>> parse_merge_name('"C++"*0.5+7')
    MergeName(document_ids=('C++', '7'), weights=(0.5, 1.0), question=None)
    >>> parse_merge_name("prag:Who was Ada?").question
    'Who was Ada?'

    Args:
        name: The name, which may come from a stranger.

    Raises:
        ValueError: If it is not the name of a merge.
    """
    if len(name) > _LONGEST:
        raise ValueError(f"the name of a merge has {len(name):,} characters, more than {_LONGEST}")
    if name.startswith(_QUESTION):
        question = name.removeprefix(_QUESTION).strip()
        if not question:
            raise ValueError(f"there is no question behind '{_QUESTION}'")
        return MergeName((), question=_text(question))
    ids: list[str] = []
    weights: list[float | None] = []
    position = 0
    while True:
        term = _TERM.match(name, position)
        if term is None:
            raise ValueError(
                f"{name[:80]!r} is not the name of a merge: expected a document's id at character "
                f"{position + 1}; ids with '+', '*' or quotes are written in double quotes"
            )
        ids.append(_text(_unquoted(term["quoted"]) if term["quoted"] else term["plain"].strip()))
        weights.append(None if term["weight"] is None else _weight(term["weight"]))
        position = term.end()
        if position == len(name):
            break
        if name[position] != "+":
            raise ValueError(
                f"{name[:80]!r} is not the name of a merge: expected '+' at character "
                f"{position + 1}, but there is {name[position]!r}"
            )
        position += 1
    if twice := {one for one in ids if ids.count(one) > 1}:
        raise ValueError(f"document {min(twice)!r} is named twice; give it one weight")
    given = [1.0 if weight is None else weight for weight in weights]
    return MergeName(tuple(ids), None if set(weights) == {None} else tuple(given))


def _unquoted(text: str) -> str:
    try:
        return str(json.loads(text))
    except ValueError as error:
        raise ValueError(f"{text[:80]} is not a string as in JSON") from error


def _text(text: str) -> str:
    """Return a text in the form of records' texts, after refusing what no file can hold."""
    if not text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError(f"{text[:80]!r} is empty or not Unicode text")
    return compose(text)


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = 0.0
    # NaN compares false, too.
    if not 0 < weight <= _LARGEST_WEIGHT:
        raise ValueError(
            f"weight {text[:80]!r} is not a number above 0 and up to {_LARGEST_WEIGHT:g}"
        )
    return weight
