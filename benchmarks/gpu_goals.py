"""How the figures of ``on_gpu.py`` compare with what was aimed at."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from benchmarks.measure import Row


class Goal(NamedTuple):
    """A figure to be reached.

    Args:
        name: What is measured.
        stages: Stages that measure it.
        figure: Its name in their rows.
        goal: The number to be reached.
        at_most: Whether it is to be at most the goal, instead of at least.
        rows: Start of the names of the rows.
    """

    name: str
    stages: str
    figure: str
    goal: float
    at_most: bool = False
    rows: str = "bank"


GOALS = (
    Goal("encoding, times the published procedure", "b", "times_published", 100),
    Goal("encoding, times a careful PEFT loop", "b", "times_persistent", 8),
    Goal("encoding, share of the bfloat16 matrix rate", "bc", "fraction_of_limit", 0.45),
    Goal("answering, times the published loop", "d", "times_published", 100),
    Goal("8B in NF4, GiB", "f", "peak_gib", 24, at_most=True),
    Goal("host, ms a document-step", "a", "host_ms_per_document_step", 1.5, True, "host"),
)


def goals(found: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """Return each goal, the best figure for it, and their ratio: 1 or more is reached.

    Args:
        found: What each stage has written, by its letter.
    """
    rows: list[Row] = []
    for goal in GOALS:
        figures = [
            row[goal.figure]
            for letter in goal.stages
            for row in found.get(letter, {}).get("rows", ())
            if str(row["name"]).startswith(goal.rows) and row.get(goal.figure) is not None
        ]
        best = (min if goal.at_most else max)(figures, default=None)
        ratio = None
        if best:
            ratio = goal.goal / best if goal.at_most else best / goal.goal
        rows.append({"name": goal.name, "goal": goal.goal, "measured": best, "ratio": ratio})
    return rows
