"""Many things named in one line of a message."""

from collections.abc import Sequence

_NUM_NAMED = 5


def first_few(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are.

    >>> first_few(["a", "b"])
    'a, b'
    >>> first_few("abcdefg")
    'a, b, c, d, e and 2 more'
    """
    more = f" and {len(names) - _NUM_NAMED} more" if len(names) > _NUM_NAMED else ""
    return ", ".join(names[:_NUM_NAMED]) + more
