"""Texts of documents, questions and models, made safe for a terminal: they are data, no orders."""

import os
import re

from rich.console import Console
from rich.text import Text

_SEQUENCE = re.compile(
    # Strings up to their end: window titles, links, the clipboard (OSC 52).
    r"(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)"
    # Colours, movements, and what has one letter.
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|\x1b[ -/]*[0-~]?"
)
# All but tab and line feed; what turns the direction of what follows; halves of a character.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def without_controls(text: str) -> str:
    r"""Return a text without what a terminal would obey: escape sequences, control characters.

    >>> without_controls("\x1b[31mred\x1b[0m\x07")
    'red'
    """
    return _CONTROL.sub("", _SEQUENCE.sub("", text.replace("\r\n", "\n")))


def plain_text(text: object, style: str = "") -> Text:
    """Return a text for a table or a line of rich, on one line, with its brackets as they are.

    Args:
        text: What is shown as ``str`` gives it.
        style: Colour and weight, in rich's words.
    """
    return Text(" ".join(without_controls(str(text)).split()), style)


def open_console(stderr: bool = False) -> Console:
    """Return what writes on the terminal, without colours and bold type where NO_COLOR is set.

    Args:
        stderr: Write to standard error.
    """
    return Console(stderr=stderr, color_system=None if os.environ.get("NO_COLOR") else "auto")
