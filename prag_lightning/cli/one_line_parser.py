"""Parsers of command lines that say what is wrong in one line."""

import re
import sys
from typing import NoReturn

from jsonargparse import ArgumentParser

# Settings of version 0.1.0, and what to write now.
_MOVED = {
    "evaluation.temperature": "give it to the rule, --evaluation.merge '{score: {temperature: 2}}'",
}


# How jsonargparse lists all that a value might have been.
_UNION = re.compile(
    r"Does not validate against any of the Union subtypes Subtypes: \[(?P<types>.*?)\] Errors: "
    r".*Given value type: .*? Given value: (?P<value>.*)"
)


class OneLineErrors:
    """Tells what is wrong, without the hundred options that are right."""

    prog: str

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print the message and end with status 2."""
        message = " ".join(message.split())
        # What pydantic adds for developers.
        message = re.sub(r"1 validation error for \S+ (.*?) \[type=.*?\]", r"\1", message)
        message = re.sub(r"For further information visit \S+", "", message)
        message = _UNION.sub(_alternatives, message)
        for key, now in _MOVED.items():
            if key in message:
                message = f"{key} is no setting any more: {now}"
        command = self.prog.replace(" [options]", "")
        print(f"{command}: {message}", file=sys.stderr)
        raise SystemExit(2)


class OneLineParser(OneLineErrors, ArgumentParser):
    """The parser of every command that runs no Trainer."""


def _alternatives(match: "re.Match[str]") -> str:
    """Return what a value might have been, in the words of a command line."""
    types = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", match["types"])
    types = re.sub(r"typing\.|Annotated\[(\w+), \w+\((?:gt|ge)=0\)\]", _positive, types)
    return f"expected {types.replace('NoneType', 'null')}; got: {match['value']}"


def _positive(match: "re.Match[str]") -> str:
    return f"{match[1]} from {int('Gt' in match[0])}" if match[1] else ""
