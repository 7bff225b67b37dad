"""Reading untrusted YAML with bounded memory and time; errors are a single line."""

from pathlib import Path
from typing import Any

import yaml
from yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, NodeEvent, ScalarEvent

# Far more than any settings need, and still read in less than a second.
MOST_CHARACTERS = 1_000_000
MOST_VALUES = 100_000
# The parser recurses at each level.
MOST_LEVELS = 50
# PyYAML needs very long for base-60 numbers with more digits, `1:59:59:...`.
MOST_DIGITS = 1000
_DIGITS = frozenset("0123456789abcdefABCDEFx_:.+-")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(file: Path) -> Any:
    """Read a YAML file.

    Raises:
        ValueError: If it is not valid YAML, or too large.
    """
    # A character takes up to four bytes.
    if file.stat().st_size > 4 * MOST_CHARACTERS:
        raise ValueError(f"{file}: {_too_large(file.stat().st_size, 'bytes')}")
    try:
        return load_yaml(file.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def load_yaml(text: str) -> Any:
    """Parse a YAML text.

    >>> load_yaml("rank: 2")
    {'rank': 2}

    Raises:
        ValueError: If it is not valid YAML, or too large.
    """
    check_yaml(text)
    try:
        return yaml.load(text, Loader=_LOADER)
    except (yaml.YAMLError, ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"is no YAML: {_in_one_line(error)}") from error


def check_yaml(text: str) -> None:
    """Check that a YAML text stays small when its aliases are expanded.

    Raises:
        ValueError: If it does not, or is not valid YAML.
    """
    if len(text) > MOST_CHARACTERS:
        raise ValueError(_too_large(len(text), "characters"))
    count = _Count()
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            count.add(event)
    except yaml.YAMLError as error:
        raise ValueError(f"is no YAML: {_in_one_line(error)}") from error


class _Count:
    """Counts the values of a text, including repetitions by aliases."""

    def __init__(self) -> None:
        self._num = 0
        self._sizes: dict[str, int] = {}
        # For each open collection, its anchor and the count at its start.
        self._open: list[tuple[str | None, int]] = []

    def add(self, event: yaml.Event) -> None:
        """Count an event, and raise an error if the total becomes too large."""
        if isinstance(event, CollectionEndEvent):
            anchor, before = self._open.pop()
            if anchor is not None:
                self._sizes[anchor] = self._num - before
        elif isinstance(event, AliasEvent):
            if event.anchor in (anchor for anchor, _ in self._open):
                raise ValueError(f"'*{event.anchor}' stands within what it names")
            self._num += self._sizes.get(str(event.anchor), 1)
        elif isinstance(event, NodeEvent):
            self._begin(event)
        if self._num > MOST_VALUES:
            raise ValueError(
                f"holds more than {MOST_VALUES:,} values, those counted that aliases repeat; are "
                "these settings?"
            )

    def _begin(self, event: NodeEvent) -> None:
        if isinstance(event, CollectionStartEvent):
            self._open.append((event.anchor, self._num))
            if len(self._open) > MOST_LEVELS:
                raise ValueError(f"goes deeper than {MOST_LEVELS} levels; are these settings?")
        elif isinstance(event, ScalarEvent):
            if len(event.value) > MOST_DIGITS and _DIGITS.issuperset(event.value):
                raise ValueError(f"holds a number of more than {MOST_DIGITS:,} digits")
            if event.anchor is not None:
                self._sizes[event.anchor] = 1
        self._num += 1


def _too_large(size: int, unit: str) -> str:
    return f"has {size:,} {unit}, and settings at most {MOST_CHARACTERS:,} characters"


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())
