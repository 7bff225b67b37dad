"""Parsers of command lines that say what is wrong in one line."""

import re
import sys
from typing import NoReturn

from jsonargparse import ArgumentParser

# Settings of version 0.1.0, and what to write now.
_MOVED = {
    "evaluation.temperature": "give it to the rule, --evaluation.merge '{score: {temperature: 2}}'",
}


class OneLineErrors:
    """Tells what is wrong, without the hundred options that are right."""

    prog: str

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print the message and end with status 2."""
        message = " ".join(message.split())
        # What pydantic adds for developers.
        message = re.sub(r"1 validation error for \S+ (.*?) \[type=.*?\]", r"\1", message)
        message = re.sub(r"For further information visit \S+", "", message)
        for key, now in _MOVED.items():
            if key in message:
                message = f"{key} is no setting any more: {now}"
        command = self.prog.replace(" [options]", "")
        print(f"{command}: {message}", file=sys.stderr)
        raise SystemExit(2)


class OneLineParser(OneLineErrors, ArgumentParser):
    """The parser of every command that runs no Trainer."""
