"""Parsers of command lines that report errors in one line."""

import re
import sys
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from jsonargparse import ArgumentParser, Namespace, get_loader, set_loader
from yaml import YAMLError

from prag_lightning.documents.yaml_text import check_yaml

# Settings of version 0.1.0, and their replacements.
_MOVED = {
    "evaluation.temperature": "give it to the rule, --evaluation.merge '{score: {temperature: 2}}'",
}
# How jsonargparse prints a type.
_CLASS = re.compile(r"(?:\ba )?<class '(?:\w+\.)*(\w+)'>")
# How jsonargparse lists the alternatives of a union type.
_UNION = re.compile(
    r"Does not validate against any of the Union subtypes Subtypes: \[(?P<types>.*?)\] Errors: "
    r".*Given value type: .*? Given value: (?P<value>.*)"
)
# Longest message; it quotes given values of any length.
_MOST_CHARACTERS = 1000
_load_any_yaml = get_loader("yaml")


def _load_yaml(text: str) -> Any:
    check_yaml(text)
    return _load_any_yaml(text)


# Used for files after --config and for single values.
set_loader("yaml", _load_yaml, exceptions=(ValueError, TypeError, OverflowError, YAMLError))


if TYPE_CHECKING:
    _Parser = ArgumentParser
else:
    _Parser = object


class OneLineErrors(_Parser):
    """Prints error messages without the usage, which lists a hundred options."""

    # During validation, also of nested subcommands: whether null settings are skipped.
    _takes_null: ClassVar[bool | None] = None

    def validate(self, namespace: Any, skip_unset: bool = True, **kwargs: Any) -> None:
        """Check settings, including those that are ``null`` in a file."""
        # Passed by position, because jsonargparse 4.49 called it `skip_none`.
        kwargs.pop("skip_none", None)
        if OneLineErrors._takes_null is not None:
            super().validate(namespace, OneLineErrors._takes_null, **kwargs)
            return
        try:
            # First skip nulls, so that missing settings are reported as missing.
            for OneLineErrors._takes_null in (True, False):
                super().validate(namespace, OneLineErrors._takes_null, **kwargs)
        finally:
            OneLineErrors._takes_null = None

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print the message and end with status 2."""
        message = " ".join(message.split())
        # Drop what pydantic adds for developers.
        message = re.sub(r"1 validation error for \S+ (.*?) \[type=.*?\]", r"\1", message)
        message = re.sub(r"For further information visit \S+", "", message)
        message = _UNION.sub(_alternatives, message)
        message = _CLASS.sub(r"\1", message)
        for key, now in _MOVED.items():
            if key in message:
                message = f"{key} is no setting any more: {now}"
        if len(message) > _MOST_CHARACTERS:
            half = _MOST_CHARACTERS // 2
            message = f"{message[:half]} ... {message[-half:]}"
        command = self.prog.replace(" [options]", "")
        print(f"{command}: {message}", file=sys.stderr)
        raise SystemExit(2)


class OneLineParser(OneLineErrors, ArgumentParser):
    """The parser of commands that run no Trainer."""

    def validate(self, namespace: Any, skip_unset: bool = True, **kwargs: Any) -> None:
        """Check settings, and that groups of settings are not given as single values."""
        for key, default in self.get_defaults().items(branches=True):
            value = namespace.get(key)
            if isinstance(default, Namespace) and not isinstance(value, Namespace):
                raise TypeError(f"{key} takes settings, a `name: value` each. Got value: {value}")
        super().validate(namespace, skip_unset, **kwargs)


def _alternatives(match: "re.Match[str]") -> str:
    """Return the alternatives of a value, in the words of a command line."""
    types = _CLASS.sub(r"\1", match["types"])
    types = re.sub(r"typing\.|Annotated\[(\w+), \w+\((?:gt|ge)=0\)\]", _positive, types)
    return f"expected {types.replace('NoneType', 'null')}; got: {match['value']}"


def _positive(match: "re.Match[str]") -> str:
    return f"{match[1]} from {int('Gt' in match[0])}" if match[1] else ""
