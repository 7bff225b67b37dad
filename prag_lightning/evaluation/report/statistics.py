"""Bootstrap intervals of means over questions, and of paired differences."""

from collections.abc import Mapping
from typing import Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
NUM_RESAMPLES = 10_000
# Most resampled questions in memory at once.
_CHUNK = 2**22

# The unit of resampling: single questions, or documents with all questions about them.
Resample = Literal["questions", "documents"]
KeyT = TypeVar("KeyT")
# A number for each question, by its id.
Column = Mapping[str, float]


class Interval(NamedTuple):
    """The mean over questions, and its bootstrap interval."""

    mean: float
    low: float
    high: float

    @property
    def is_positive(self) -> bool:
        """Whether the whole interval is above 0."""
        return self.low > 0

    @property
    def is_negative(self) -> bool:
        """Whether the whole interval is below 0."""
        return self.high < 0


def bootstrap_intervals(
    values: NDArray[np.float64],
    groups: NDArray[np.int64] | None = None,
    *,
    num_resamples: int = NUM_RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> list[Interval]:
    """Return the mean and the percentile interval of each column (Efron & Tibshirani 1993, 13.3).

    Every column uses the same resamples, each of which draws as many groups of questions as there
    are, with replacement. For a column of differences between two methods on the same questions,
    this is the paired bootstrap (Koehn 2004, aclanthology.org/W04-3250).

    Args:
        values: Shape ``(questions, columns)``, at least one question.
        groups: The group of each question, from 0, shape ``(questions,)``; by default each is its
            own. Questions about the same document are not independent.
        num_resamples: Number of resamples.
        level: Share of resampled means within the interval.
        seed: Seed of the draws.
    """
    if groups is None:
        groups = np.arange(len(values))
    num_groups = int(groups.max()) + 1
    sums = np.zeros((num_groups, values.shape[1]))
    np.add.at(sums, groups, values)
    sizes = np.bincount(groups, minlength=num_groups).astype(np.float64)
    random = np.random.default_rng(seed)
    means = np.empty((num_resamples, values.shape[1]))
    rows = max(1, _CHUNK // num_groups)
    for start in range(0, num_resamples, rows):
        stop = min(start + rows, num_resamples)
        # Means only depend on how often each group was drawn.
        drawn = random.integers(num_groups, size=(stop - start, num_groups))
        drawn += np.arange(stop - start)[:, None] * num_groups
        counts = np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape)
        weights = counts.astype(np.float64)
        means[start:stop] = weights @ sums / (weights @ sizes)[:, None]
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    mean = values.mean(axis=0)
    return [Interval(*map(float, triple)) for triple in zip(mean, low, high, strict=True)]


def column_intervals(
    columns: Mapping[KeyT, Column], group_of: Mapping[str, str] | None = None
) -> dict[KeyT, Interval]:
    """Return the interval of each non-empty column; columns of equal questions share resamples.

    Args:
        columns: Numbers of questions.
        group_of: The resampling group of each question; by default each is its own.
    """
    alike: dict[tuple[str, ...], list[KeyT]] = {}
    for key, column in columns.items():
        alike.setdefault(tuple(sorted(column)), []).append(key)
    found: dict[KeyT, Interval] = {}
    for questions, keys in alike.items():
        if questions:
            values = np.array([[columns[key][q] for key in keys] for q in questions], np.float64)
            names = [(group_of or {}).get(question, question) for question in questions]
            groups = np.unique(names, return_inverse=True)[1]
            found.update(zip(keys, bootstrap_intervals(values, groups), strict=True))
    return {key: found[key] for key in columns if key in found}


def difference(one: Column, other: Column) -> dict[str, float]:
    """Return the differences of two methods' scores on the questions of both.

    Args:
        one: Scores of the first method.
        other: Scores of the second, which are subtracted.
    """
    return {question: one[question] - other[question] for question in one if question in other}
