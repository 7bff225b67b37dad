"""What a mistyped word was meant to be."""

import difflib
from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str], otherwise: str) -> str:
    """Return a hint at the known word that is nearest to ``word``, or ``otherwise`` if none is.

    >>> did_you_mean("fitt", ["fit", "test"], "there are two")
    "did you mean 'fit'?"
    >>> did_you_mean("ask", ["fit", "test"], "there are two")
    'there are two'

    Args:
        word: What was written.
        known: What could have been meant.
        otherwise: What to say where nothing is near.
    """
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean '{near[0]}'?" if near else otherwise
