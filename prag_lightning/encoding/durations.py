"""Lengths of time in words."""


def duration(seconds: float) -> str:
    """Return a length of time in one or two digits and a unit.

    >>> duration(89), duration(5400), duration(400_000)
    ('89 s', '90 min', '5 days')
    """
    for unit, length, most in (("s", 1, 90), ("min", 60, 90), ("h", 3600, 48)):
        if seconds / length < most + 0.5:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds / 86400:.0f} days"
