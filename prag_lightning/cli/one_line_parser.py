"""Parsers of command lines that say what is wrong in one line."""

import sys
from typing import NoReturn

from jsonargparse import ArgumentParser


class OneLineErrors:
    """Tells what is wrong, without the hundred options that are right."""

    prog: str

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print the message and end with status 2."""
        command = self.prog.replace(" [options]", "")
        print(f"{command}: {' '.join(message.split())}", file=sys.stderr)
        raise SystemExit(2)


class OneLineParser(OneLineErrors, ArgumentParser):
    """The parser of every command that runs no Trainer."""
