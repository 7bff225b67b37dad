"""What a busy server asks for: how long to wait."""

import time
from email.utils import parsedate_to_datetime


def seconds_of(retry_after: str | None) -> float | None:
    """Return the seconds that a ``Retry-After`` header asks for, by number or date.

    None if there is no such header, or if it says something else.
    """
    if retry_after is None:
        return None
    if retry_after.isdecimal():
        return float(retry_after)
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return None
