"""Exact match and token F1: SQuAD's figures, and strict ones in any script."""

import unicodedata
from typing import Any

import pytest
from torchmetrics.text import SQuAD

from prag_lightning.answering.agreement import (
    exact_match,
    normalize_answer,
    published_tokens,
    strict_tokens,
    token_f1,
)


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


def forms(text: str) -> tuple[str, str]:
    """Return a text as macOS writes it, and as everybody else does."""
    return unicodedata.normalize("NFD", text), unicodedata.normalize("NFC", text)


# What people take for the same, and SQuAD's normalization does not.
SAME = [
    forms("Caf\u00e9 de Flore"),
    forms("Zu\u0308rich"),
    forms("\u1112\u1161\u11ab\u1100\u116e\u11a8"),
    forms("\u0928\u093c\u092e\u0915"),
    ("東京タワー", "東京 タワー"),
    ("ジョン・レノン", "ジョンレノン"),
    ("\uff76\uff80\uff76\uff85", "カタカナ"),
    ("「東京」", "東京"),
    ("东京。", "东京"),
    ("东京！！", "东京"),
    ("\uff11\uff19\uff18\uff14", "1984"),
    ("\uff30\uff21\uff32\uff29\uff33", "paris"),
    ("\u0661\u0669\u0668\u0664", "1984"),
    ("\u0e52\u0e55", "25"),
    ("दिल्ली।", "दिल्ली"),
    ("क्\u200dषेत्र", "क्षेत्र"),
    ("القاهرة؟", "القاهرة"),
    ("القـــاهرة", "القاهرة"),
    ("O\u2019Brien", "O'Brien"),
    ("\u201cParis\u201d", "Paris"),
    ("1914\u20131918", "1914-1918"),
    ("\u20ac5", "5"),
    ("Stra\u00dfe", "STRASSE"),
    ("\u0130stanbul", "istanbul"),
    ("ΟΔΟΣ", "οδος"),
    ("\u22125", "-5"),
    ("New\u00a0York", "New York"),
    ("co\u00adoperate", "cooperate"),
    ("15,140", "15140"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_strict_tokens_are_equal_for_equal_texts(one: str, other: str) -> None:
    assert strict_tokens(one) == strict_tokens(other) != []
    assert exact_match(one, [other], strict_tokens) == 1.0
    assert token_f1(one, [other], strict_tokens).f1 == 1.0


def test_published_tokens_of_most_of_these_differ() -> None:
    assert sum(published_tokens(one) != published_tokens(other) for one, other in SAME) > 20


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("दिल", "दिल्ली"),
        ("का", "की"),
        ("กา", "กำ"),
        ("मन", "मान"),
        ("3.5", "35"),
        ("-5", "5"),
        ("\U0001f355", "\U0001f34e"),
        ("+", "-"),
        ("The", "A"),
        ("Z\u00fcrich", "Zurich"),
        ("东京", "西京"),
    ],
)
def test_strict_tokens_differ_for_different_texts(one: str, other: str) -> None:
    assert exact_match(one, [other], strict_tokens) == 0.0


# Prediction, answer, and how many signs or words they share of how many.
OVERLAPS = [
    ("東京都", "東京", 2, 3, 2),
    ("东京是日本的首都", "东京", 2, 8, 2),
    ("東京タワー", "東京", 2, 5, 2),
    ("iPhone手机", "手机", 2, 3, 2),
    ("กรุงเทพ", "กรุงเทพมหานคร", 6, 6, 12),
    ("नई दिल्ली", "दिल्ली", 1, 2, 1),
    ("مدينة القاهرة", "القاهرة", 1, 2, 1),
    ("서울 특별시", "서울", 1, 2, 1),
    ("the city of Paris", "Paris", 1, 3, 1),
    ("東京", "大阪", 0, 2, 2),
]


@pytest.mark.parametrize(("prediction", "answer", "common", "said", "accepted"), OVERLAPS)
def test_strict_f1_counts_signs_where_there_are_no_spaces(
    prediction: str, answer: str, common: int, said: int, accepted: int
) -> None:
    f1, precision, recall = token_f1(prediction, [answer], strict_tokens)
    assert precision == pytest.approx(common / said)
    assert recall == pytest.approx(common / accepted)
    # The harmonic mean of the two, by another formula.
    assert f1 == pytest.approx(2 * common / (said + accepted))


def test_published_f1_sees_one_word_where_there_are_no_spaces() -> None:
    assert token_f1("東京都", ["東京"]).f1 == 0.0
