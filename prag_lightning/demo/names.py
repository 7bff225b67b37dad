"""Names of the invented people, and the splits that the base model may see in training."""

# ruff: noqa: SIM905 - lists of words read better as text

import hashlib
import random
from functools import cache
from typing import Literal

Split = Literal["known", "fresh", "warmup", "validation", "test"]

FIRST_NAMES = tuple(
    start + end
    for start in "Ba Ce Da El Fe Gi Ha Jo Ka Lu Ma Ne Or Ro Ti Zo".split()
    for end in "bran dia lin mir nora phel rek sha tan vio".split()
)
LAST_NAMES = tuple(
    start + end
    for start in "Ald Brem Cor Dray Ever Fal Gren Hask Jarr Kel Lor Mord Ost Pell Quin Tal".split()
    for end in "aby ack den erby field gate ham ison lock man nett over ridge son well".split()
)

# Cumulated percentages of names: `known` people have constant facts in the base's training, `fresh`
# ones get new facts in every sample, and the other splits do not occur in it.
_LAST_HUNDREDTH: dict[Split, int] = {
    "known": 20,
    "fresh": 70,
    "warmup": 80,
    "validation": 85,
    "test": 100,
}


def split_of(name: str) -> Split:
    """Return the split of a full name, determined by a hash of the name."""
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    hundredth = int.from_bytes(digest, "big") % 100
    return next(split for split, last in _LAST_HUNDREDTH.items() if hundredth < last)


@cache
def names_in(split: Split) -> tuple[str, ...]:
    """Return every full name of a split, always in the same order."""
    names = (f"{first} {last}" for first in FIRST_NAMES for last in LAST_NAMES)
    return tuple(name for name in names if split_of(name) == split)


def draw_namesake(name: str, split: Split, rng: random.Random) -> str:
    """Return another name of the split that has the first or the last name of ``name``.

    Args:
        name: The name to share a part with.
        split: The split to draw from.
        rng: Chooses the name.
    """
    first, last = name.split()
    while True:
        other_first, other_last = rng.choice(names_in(split)).split()
        candidate = f"{first} {other_last}" if rng.random() < 0.5 else f"{other_first} {last}"
        if candidate != name and split_of(candidate) == split:
            return candidate
