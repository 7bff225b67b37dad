import random
import time
from itertools import chain

import numpy as np
import pytest
from numpy.typing import NDArray

from prag_lightning.evaluation.report import statistics
from prag_lightning.evaluation.report.statistics import (
    Interval,
    bootstrap_intervals,
    column_intervals,
    difference,
)


def coin(share: float, num: int, seed: int) -> NDArray[np.float64]:
    return (np.random.default_rng(seed).random(num) < share).astype(np.float64)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_of_many_questions_the_interval_is_that_of_the_normal_approximation(share: float) -> None:
    values = coin(share, 4000, seed=1)
    (interval,) = bootstrap_intervals(values[:, None])
    mean = values.mean()
    margin = 1.959964 * (mean * (1 - mean) / len(values)) ** 0.5
    assert interval.mean == pytest.approx(mean)
    assert interval.low == pytest.approx(mean - margin, abs=0.05 * margin)
    assert interval.high == pytest.approx(mean + margin, abs=0.05 * margin)


def test_of_few_questions_it_is_that_of_resampling_them_one_by_one() -> None:
    values = [0.0, 0.0, 0.0, 0.1, 0.0, 0.2, 1.0]
    draw = random.Random(0)
    means = sorted(sum(draw.choices(values, k=7)) / 7 for _ in range(40_000))
    (interval,) = bootstrap_intervals(np.array(values)[:, None])
    assert interval.low == pytest.approx(means[1_000], abs=0.015)
    assert interval.high == pytest.approx(means[-1_000], abs=0.015)
    # Not symmetric, as the normal approximation would have it.
    assert abs((interval.high - interval.mean) - (interval.mean - interval.low)) > 0.003


def test_a_narrower_level_gives_a_narrower_interval() -> None:
    values = coin(0.4, 300, seed=2)[:, None]
    (wide,), (narrow,) = bootstrap_intervals(values), bootstrap_intervals(values, level=0.5)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_the_same_seed_gives_the_same_interval_in_whatever_pieces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = np.random.default_rng(3).random((50, 2))
    whole = bootstrap_intervals(values)
    monkeypatch.setattr(statistics, "_CHUNK", 1234)
    assert bootstrap_intervals(values) == whole
    assert bootstrap_intervals(values, seed=1) != whole


def test_a_method_and_its_like_do_not_differ() -> None:
    one = {str(number): value for number, value in enumerate(coin(0.3, 200, seed=4).tolist())}
    intervals = column_intervals({"score": one, "difference": difference(one, dict(one))})
    assert intervals["difference"] == Interval(0, 0, 0)
    assert intervals["score"].high > intervals["score"].low


def test_a_pair_tells_more_than_two_methods_by_themselves() -> None:
    """A method that is right wherever another is, and once in ten more, is surely better."""
    worse = coin(0.5, 200, seed=5)
    better = np.maximum(worse, coin(0.1, 200, seed=6))
    one, other = (dict(zip(map(str, range(200)), v.tolist(), strict=True)) for v in (better, worse))
    intervals = column_intervals({"one": one, "other": other, "pair": difference(one, other)})
    assert intervals["one"].low < intervals["other"].high
    assert intervals["pair"].is_positive
    assert not intervals["pair"].is_negative


def test_questions_that_only_one_method_was_asked_do_not_count() -> None:
    assert difference({"a": 1.0, "b": 0.5}, {"b": 0.25, "c": 1.0}) == {"b": 0.25}
    assert column_intervals({"nothing": {}, "one": {"a": 2.0}}) == {"one": Interval(2, 2, 2)}


def test_questions_about_one_document_tell_no_more_than_one_of_them() -> None:
    once = coin(0.4, 100, seed=8)
    tenfold, documents = np.repeat(once, 10)[:, None], np.repeat(np.arange(100), 10)
    (of_documents,) = bootstrap_intervals(once[:, None])
    assert bootstrap_intervals(tenfold, documents) == [pytest.approx(of_documents)]
    (of_questions,) = bootstrap_intervals(tenfold)
    assert of_questions.high - of_questions.low < 0.5 * (of_documents.high - of_documents.low)


def test_documents_of_different_size_are_those_of_resampling_them_one_by_one() -> None:
    documents = [[0.0, 0.0, 1.0], [1.0], [0.5, 0.5], [0.0], [1.0, 1.0, 1.0, 0.0], [0.25]]
    draw = random.Random(0)
    drawn = [[*chain(*draw.choices(documents, k=6))] for _ in range(40_000)]
    means = sorted(sum(values) / len(values) for values in drawn)
    columns = {f"{d}.{q}": v for d, vs in enumerate(documents) for q, v in enumerate(vs)}
    groups = {question: question[0] for question in columns}
    interval = column_intervals({"all": columns}, groups)["all"]
    assert interval.mean == pytest.approx(sum(columns.values()) / len(columns))
    assert interval.low == pytest.approx(means[1_000], abs=0.015)
    assert interval.high == pytest.approx(means[-1_000], abs=0.015)


def test_600_questions_of_8_methods_take_less_than_a_second() -> None:
    values = np.random.default_rng(7).random((600, 8))
    start = time.process_time()
    assert len(bootstrap_intervals(values)) == 8
    assert time.process_time() - start < 1
