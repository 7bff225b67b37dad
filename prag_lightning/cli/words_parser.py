"""The parser of commands that are a few words, without settings."""

import argparse
from typing import NoReturn


class WordsParser(argparse.ArgumentParser):
    """Reports errors in one line, as the parsers of settings do."""

    def error(self, message: str) -> NoReturn:
        """Print the message and end with status 2."""
        self.exit(2, f"{self.prog}: {message}; see `{self.prog} --help`\n")
