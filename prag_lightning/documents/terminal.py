"""Making untrusted texts safe to print on a terminal."""

import os
import re

from rich.console import Console
from rich.text import Text

_SEQUENCE = re.compile(
    # Control strings, such as window titles, links and clipboard access (OSC 52).
    r"(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)"
    # Colors, cursor movements and single-letter sequences.
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|\x1b[ -/]*[0-~]?"
)
# Control characters except tab and line feed, bidirectional overrides, and lone surrogates.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def without_controls(text: str) -> str:
    r"""Remove escape sequences and control characters, which a terminal would interpret.

    >>> without_controls("\x1b[31mred\x1b[0m\x07")
    'red'
    """
    return _CONTROL.sub("", _SEQUENCE.sub("", text.replace("\r\n", "\n")))


def plain_text(text: object, style: str = "") -> Text:
    """Return a text as a single line for rich, with brackets shown literally.

    Args:
        text: An object to show as ``str`` converts it.
        style: A rich style.
    """
    return Text(" ".join(without_controls(str(text)).split()), style)


def open_console(stderr: bool = False) -> Console:
    """Return a console for the terminal, without colors and bold text if NO_COLOR is set.

    Args:
        stderr: Whether to write to standard error.
    """
    return Console(stderr=stderr, color_system=None if os.environ.get("NO_COLOR") else "auto")
