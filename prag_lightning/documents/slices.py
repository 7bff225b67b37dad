"""Taking a subset of a data set, so that an experiment takes minutes."""

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from prag_lightning.documents.entries import Entry


def take_slice(
    entries: Iterable[Entry], limit: int, seed: int | None = None, of_documents: bool = False
) -> Iterator[Entry]:
    """Yield some questions of each type, and all entries without a question.

    The published experiments use the first 300 of each type and the first 300 overall. The latter
    are included in the former and come first, since the order is kept.

    Args:
        entries: The data set.
        limit: Number of questions to take of each type.
        seed: Random seed for drawing the questions; None takes the first ones.
        of_documents: Whether the data set has no questions; then ``limit`` documents are taken.

    Yields:
        The selected entries, in the order of the data set.
    """
    if seed is None:
        yield from _take_first(entries, limit, of_documents)
    else:
        yield from _draw(entries, limit, random.Random(seed), of_documents)


def _take_first(entries: Iterable[Entry], limit: int, of_documents: bool) -> Iterator[Entry]:
    num_seen: Counter[str | None] = Counter()
    for entry in entries:
        if entry.question or of_documents:
            kind = entry.question.type if entry.question else None
            num_seen[kind] += 1
            if num_seen[kind] > limit:
                if of_documents:
                    return
                continue
        yield entry


def _draw(
    entries: Iterable[Entry], limit: int, rng: random.Random, of_documents: bool
) -> Iterator[Entry]:
    """Draw by reservoir sampling (Vitter 1985, algorithm R), with equal probabilities."""
    num_seen: Counter[str | None] = Counter()
    drawn: defaultdict[str | None, list[tuple[int, Entry]]] = defaultdict(list)
    for number, entry in enumerate(entries):
        if not entry.question and not of_documents:
            yield entry
            continue
        kind = entry.question.type if entry.question else None
        num_seen[kind] += 1
        if num_seen[kind] <= limit:
            drawn[kind].append((number, entry))
        elif (place := rng.randrange(num_seen[kind])) < limit:
            drawn[kind][place] = (number, entry)
    taken = [one for of_kind in drawn.values() for one in of_kind]
    yield from (entry for _, entry in sorted(taken, key=lambda one: one[0]))
