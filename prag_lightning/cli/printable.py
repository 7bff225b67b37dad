"""Texts and times of a store, as commands print them."""

from datetime import datetime, timezone


def shown(text: str) -> str:
    """Return a text of a store without control characters, for the terminal."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def utc_time(stored: int | None) -> str:
    """Return a time in UTC, or dashes of equal length if unknown."""
    if not stored:
        return f"{'-':<20}"
    return datetime.fromtimestamp(stored, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
