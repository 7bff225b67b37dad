"""Metrics: the published figures, the strict answers, and means over questions."""

import math
from dataclasses import dataclass
from typing import Any

import pytest
from torchmetrics.text import SQuAD

from prag_lightning.answering.extraction import extract_answer
from prag_lightning.evaluation.metrics import (
    QuestionMean,
    exact_match,
    normalize_answer,
    question_metrics,
    token_f1,
)

# Prediction, answers, chain of thought, extracted answer, EM, F1, precision, recall. Recorded by
# running the published evaluation, oneal2000/PRAG at commit e03742e.
PUBLISHED: list[tuple[str, list[str], bool, str, float, float, float, float]] = [
    ("Paris.", ["Paris"], False, "Paris", 1, 1, 1, 1),
    ("paris", ["Paris"], False, "paris", 1, 1, 1, 1),
    (" Paris, France", ["Paris"], False, "Paris", 1, 1, 1, 1),
    ("15,140", ["15,140"], False, "15", 0, 0, 0, 0),
    ("St. Louis", ["St. Louis"], False, "St", 0, 2 / 3, 1, 1 / 2),
    ("Chief of Protocol", ["Chief of Protocol"], False, "Chief of Protocol", 1, 1, 1, 1),
    ("chief protocol", ["Chief of Protocol"], False, "chief protocol", 0, 0.8, 1, 2 / 3),
    ("yes", ["yes"], False, "yes", 1, 1, 1, 1),
    ("yes it is", ["yes"], False, "yes it is", 0, 0, 0, 0),
    ("no", ["no"], False, "no", 1, 1, 1, 1),
    ("noanswer", ["Paris"], False, "noanswer", 0, 0, 0, 0),
    ("yes", ["yes sir"], False, "yes", 0, 0, 0, 0),
    ("", [""], False, "", 1, 0, 0, 0),
    ("a", ["the"], False, "a", 1, 0, 0, 0),
    (
        "University of Washington",
        ["University of Chicago"],
        False,
        "University of Washington",
        0,
        2 / 3,
        2 / 3,
        2 / 3,
    ),
    ("York New", ["New York"], False, "York New", 0, 1, 1, 1),
    ("New New York", ["New York"], False, "New New York", 0, 0.8, 2 / 3, 1),
    (
        "Obama Barack Hussein",
        ["Barack Obama", "Barack Hussein Obama II"],
        False,
        "Obama Barack Hussein",
        0,
        6 / 7,
        1,
        1,
    ),
    ("Écosse", ["écosse"], False, "Écosse", 1, 1, 1, 1),
    ("東京 タワー", ["東京"], False, "東京 タワー", 0, 2 / 3, 0.5, 1),
    ("Paris!", ["Paris"], False, "Paris!", 1, 1, 1, 1),
    ("U.S.", ["US"], False, "U", 0, 0, 0, 0),
    ("rock-n-roll", ["rock n roll"], False, "rock-n-roll", 0, 0, 0, 0),
    ("$5 million", ["5 million"], False, "$5 million", 1, 1, 1, 1),
    ("3", ["3.5"], False, "3", 0, 0, 0, 0),
    ("\nParis", ["Paris"], False, "Paris", 1, 1, 1, 1),
    (", Paris", ["Paris"], False, "", 0, 0, 0, 0),
    ("Paris and London", ["London and Paris"], False, "Paris and London", 0, 1, 1, 1),
    ("theatre", ["the atre"], False, "theatre", 0, 0, 0, 0),
    ("Answer: Paris", ["Paris"], False, "Answer: Paris", 0, 2 / 3, 0.5, 1),
    (
        "Scott was American. Ed was American. So the answer is yes.",
        ["yes"],
        True,
        "yes",
        1,
        1,
        1,
        1,
    ),
    ("So the answer is no, because", ["no"], True, "no", 1, 1, 1, 1),
    ("The answer is Paris.", ["Paris"], True, "The answer is Paris", 0, 0.5, 1 / 3, 1),
    ("Thus the answer is J. K. Rowling.", ["J. K. Rowling"], True, "J", 0, 0.5, 1, 1 / 3),
    ("", ["Paris"], True, "", 0, 0, 0, 0),
    (
        "The film X was directed by Y. Y died in 1999. So the answer is 19 June 1999.",
        ["19 June 1999", "June 19, 1999"],
        True,
        "19 June 1999",
        1,
        1,
        1,
        1,
    ),
    (
        "the answer is the Chief of Protocol of the United States",
        ["Chief of Protocol"],
        True,
        "the Chief of Protocol of the United States",
        0,
        2 / 3,
        0.5,
        1,
    ),
    ("red", ["Red", "blue"], False, "red", 1, 1, 1, 1),
    ("1961", ["1961", "19 61"], False, "1961", 1, 1, 1, 1),
    ("x_y", ["xy"], False, "x_y", 1, 1, 1, 1),
]

# Generated text and what is left of it under strict scoring, normalized.
STRICT = [
    ("15,140", "15140"),
    ("3.5 million. It grew.", "35 million"),
    ("Washington, D.C.", "washington dc"),
    ("Washington, D.C. He was born there.", "washington dc"),
    ("St. Louis", "st louis"),
    ("J. K. Rowling. She wrote it.", "j k rowling"),
    ("M. A. Numminen", "m numminen"),
    ("Sammy Davis Jr. Show", "sammy davis jr show"),
    ("Mamma Mia! Here We Go Again", "mamma mia here we go again"),
    ("Help! It was released in 1965.", "help"),
    ("Guardians of the Galaxy Vol. 2", "guardians of galaxy vol 2"),
    ("No. 1", "no 1"),
    ("No. Scott was American.", "no"),
    ("Paris. Question: who?", "paris"),
    ('Paris." The film followed.', "paris"),
    ("Paris.\nQuestion: who?", "paris"),
    ("\n Paris, France", "paris france"),
    ("", ""),
]


@pytest.mark.parametrize("case", PUBLISHED, ids=lambda case: str(case[0])[:20])
def test_published_scoring_agrees_with_the_published_evaluation(
    case: tuple[str, list[str], bool, str, float, float, float, float],
) -> None:
    text, answers, chain_of_thought, extracted, *scores = case
    prediction = extract_answer(text, "published", chain_of_thought)
    assert prediction == extracted
    assert [exact_match(prediction, answers), *token_f1(prediction, answers)] == pytest.approx(
        scores, abs=1e-12
    )


@pytest.mark.parametrize(("text", "answer"), STRICT)
def test_strict_scoring_cuts_only_where_a_sentence_must_have_ended(text: str, answer: str) -> None:
    assert normalize_answer(extract_answer(text, "strict")) == answer


def test_strict_scoring_takes_the_last_conclusion_of_a_chain_of_thought() -> None:
    text = "If not, the answer is Rome. But it is so. The answer is J. K. Rowling. She wrote it."
    assert extract_answer(text, "strict", chain_of_thought=True) == "J. K. Rowling."
    assert extract_answer(text, "published", chain_of_thought=True) == "Rome"


def test_strict_scoring_without_a_conclusion_keeps_the_first_sentence() -> None:
    assert extract_answer("Paris. It is big.", "strict", chain_of_thought=True) == "Paris."


def test_an_unknown_scoring_is_refused() -> None:
    with pytest.raises(ValueError, match="no scoring 'lenient'; choose 'published' or 'strict'"):
        extract_answer("Paris", "lenient")  # type: ignore[arg-type]


@pytest.mark.parametrize("score", [exact_match, token_f1])
def test_a_question_without_answers_is_refused(score: object) -> None:
    assert callable(score)
    with pytest.raises(ValueError, match="'Paris' has no accepted answer"):
        score("Paris", [])


def test_f1_differs_from_squads_only_for_closed_and_empty_answers() -> None:
    words = ["yes", "no", "the", "new york", "york", "no doubt", ""]
    squad = SQuAD()
    for prediction in words:
        for answer in words:
            squad.reset()
            target: dict[str, Any] = {"answers": {"answer_start": [0], "text": [answer]}, "id": "q"}
            squad.update([{"prediction_text": prediction, "id": "q"}], [target])
            theirs = squad.compute()
            assert exact_match(prediction, [answer]) == float(theirs["exact_match"]) / 100
            normalized = {normalize_answer(prediction), normalize_answer(answer)}
            if normalized.isdisjoint({"yes", "no", ""}):
                ours = token_f1(prediction, [answer]).f1
                assert ours == pytest.approx(float(theirs["f1"]) / 100)


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
