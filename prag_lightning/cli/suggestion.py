"""Suggestions for mistyped words."""

import difflib
from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str], otherwise: str) -> str:
    """Return a hint at the known word closest to ``word``, or ``otherwise`` if none is close.

    >>> did_you_mean("fitt", ["fit", "test"], "there are two")
    "did you mean 'fit'?"
    >>> did_you_mean("ask", ["fit", "test"], "there are two")
    'there are two'

    Args:
        word: The mistyped word.
        known: The known words.
        otherwise: The text if no word is close.
    """
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean '{near[0]}'?" if near else otherwise
