"""Means over questions, in batches and over processes."""

import math
from dataclasses import dataclass

import pytest

from prag_lightning.evaluation.metrics import QuestionMean, question_metrics


@dataclass
class Scored:
    """An answer with scores that tell its metrics apart."""

    em: float
    f1: float = 0.5
    precision: float = 0.25
    recall: float = 1.0
    answer_nll: float | None = 2.0


def test_each_metric_is_the_mean_of_its_own_score_over_uneven_batches() -> None:
    answers = [Scored(1.0), Scored(0.0, 0.2, 0.1, 0.0, 5.0), Scored(0.0), Scored(1.0, 1.0)]
    metrics = question_metrics()
    for batch in (slice(0, 3), slice(3, 4), slice(4, 4)):
        metrics.update(answers[batch])
    means = {name: value.item() for name, value in metrics.compute().items()}
    assert means == pytest.approx(
        {"em": 0.5, "f1": 2.2 / 4, "precision": 0.85 / 4, "recall": 0.75, "nll": 2.75}
    )


def test_metrics_that_were_equal_once_do_not_stay_so() -> None:
    metrics = question_metrics()
    metrics.update([Scored(1.0, 1.0, 1.0, 1.0, 1.0)])
    metrics.update([Scored(0.0, 0.5, 0.25, 1.0, 1.0)])
    means = {name: round(float(value), 3) for name, value in metrics.compute().items()}
    assert means == {"em": 0.5, "f1": 0.75, "precision": 0.625, "recall": 1.0, "nll": 1.0}


def test_means_of_ten_million_questions_lose_nothing_to_rounding() -> None:
    mean = QuestionMean("em")
    mean.total += 2.0**24
    mean.num_questions += 2**24
    mean.update([Scored(1.0)])
    assert float(mean.total) == 2.0**24 + 1


def test_states_of_processes_add_up() -> None:
    first, second, whole = (QuestionMean("answer_nll") for _ in range(3))
    answers = [Scored(1.0, answer_nll=value) for value in (1.0, 2.0, 6.0)]
    first.update(answers[:2])
    second.update(answers[2:])
    whole.update(answers)
    assert float(whole.compute()) == 3.0
    first.merge_state(second)
    assert float(first.compute()) == 3.0


@pytest.mark.parametrize("unknown", [None, math.nan])
def test_an_answer_without_a_likelihood_counts_in_no_mean(unknown: float | None) -> None:
    mean = QuestionMean("answer_nll")
    mean.update([Scored(1.0, answer_nll=unknown)])
    assert math.isnan(float(mean.compute()))
    mean.update([Scored(1.0, answer_nll=unknown), Scored(1.0, answer_nll=3.0)])
    assert float(mean.compute()) == 3.0
