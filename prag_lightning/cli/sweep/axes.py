"""Axes of a sweep: settings with several values, and the names of their combinations."""

import hashlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import product
from typing import NamedTuple

from prag_lightning.cli.suggestion import did_you_mean
from prag_lightning.evaluation.setting_names import short_keys

_LONGEST_VALUE = 60


class Axis(NamedTuple):
    """One setting and its values, as on a command line."""

    key: str
    values: tuple[str, ...]


def read_axis(text: str, known: Collection[str]) -> Axis:
    """Parse ``KEY=VALUE,VALUE``; commas within brackets belong to a value.

    Args:
        text: The argument of ``--over``.
        known: All existing keys.

    Raises:
        ValueError: If the text has another form, the key is unknown, or a value occurs twice.

    >>> read_axis("rank=1,2", ["model.lora.rank", "model.lr"])
    Axis(key='model.lora.rank', values=('1', '2'))
    """
    word, equals, rest = text.partition("=")
    values = tuple(_split(rest))
    if not equals or not all(values):
        raise ValueError(f"--over {text}: expected KEY=VALUE,VALUE, such as rank=1,2,4")
    if len(set(values)) < len(values):
        raise ValueError(f"--over {text}: a value is given twice; leave one out")
    return Axis(find_key(word, known), values)


def _split(text: str) -> list[str]:
    values, depth = [""], 0
    for letter in text:
        depth += (letter in "[{(") - (letter in "]})")
        if letter == "," and depth == 0:
            values.append("")
        else:
            values[-1] += letter
    return values


def find_key(word: str, known: Collection[str]) -> str:
    """Return the key that a word stands for: the key itself, its end, or a part of its value.

    Args:
        word: The key as written after ``--over``.
        known: All existing keys.

    Raises:
        ValueError: If there is none, or if several keys match.
    """
    if any(word == key or word.startswith(f"{key}.") for key in known):
        return word
    found = [key for key in known if key.endswith(f".{word}")]
    if len(found) > 1:
        raise ValueError(f"--over {word}: may be {' or '.join(sorted(found))}; write it out")
    if not found:
        short = {key.rpartition(".")[2]: key for key in known}
        hint = did_you_mean(word, [*known, *short], "`prag fit --help` lists the settings")
        raise ValueError(f"--over {word}: there is no such setting; {hint}")
    return found[0]


def combinations(axes: Sequence[Axis]) -> Iterator[dict[str, str]]:
    """Yield every combination of values by key; the last axis varies fastest.

    Raises:
        ValueError: If two axes have the same key.
    """
    keys = [axis.key for axis in axes]
    for key in keys:
        if keys.count(key) > 1:
            raise ValueError(f"--over {key}: given twice; write all its values behind one")
    for values in product(*(axis.values for axis in axes)):
        yield dict(zip(keys, values, strict=True))


def run_name(swept: Mapping[str, str]) -> str:
    """Return a name for a run, valid as a folder's name, from its values of the swept settings.

    Characters that are not allowed in names are replaced, and a digest keeps names unique.

    >>> run_name({"model.lora.rank": "2", "data.folder": "../x"})
    'rank=2,folder=.._x-d6b96a'
    """
    short = short_keys(list(swept))
    return ",".join(f"{short[key]}={_safe(value)}" for key, value in swept.items())


def _safe(value: str) -> str:
    name = re.sub(r"[^A-Za-z0-9_.+-]", "_", value)[:_LONGEST_VALUE]
    if name == value:
        return name
    return f"{name}-{hashlib.sha256(value.encode()).hexdigest()[:6]}"
