"""Scorings by name, by import path, and of one's own."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from prag_lightning.answering.extraction import ANSWER_MARK
from prag_lightning.answering.scoring import (
    AnswerScores,
    PublishedScoring,
    Scoring,
    StrictScoring,
    make_scoring,
)
from tests.answering.published_cases import PUBLISHED


@pytest.mark.parametrize("case", PUBLISHED, ids=lambda case: str(case[0])[:20])
def test_published_scoring_agrees_with_the_published_evaluation(
    case: tuple[str, list[str], bool, str, float, float, float, float],
) -> None:
    text, answers, chain_of_thought, extracted, *scores = case
    scoring = make_scoring("published")
    prediction = scoring.extract(text, ANSWER_MARK if chain_of_thought else None)
    assert prediction == extracted
    assert scoring.score(prediction, answers) == pytest.approx(scores, abs=1e-12)


def test_strict_scoring_gives_points_where_published_scoring_does_not() -> None:
    cases = [("15,140", "15,140"), (" 东京。它是日本的首都。", "东京"), ("St. Louis", "St. Louis")]
    for text, answer in cases:
        strict, published = StrictScoring(), PublishedScoring()
        assert strict.score(strict.extract(text), [answer]).em == 1.0
        assert published.score(published.extract(text), [answer]).em == 0.0


class Contained(Scoring):
    """Counts an answer that occurs anywhere in the text."""

    def __init__(self, at: float = 1.0) -> None:
        self.at = at

    def extract(self, text: str, answer_mark: str | None = None) -> str:
        return text

    def score(self, prediction: str, answers: Sequence[str]) -> AnswerScores:
        found = self.at * any(answer in prediction for answer in answers)
        return AnswerScores(found, found, found, found)


def test_a_scoring_is_given_by_name_import_path_or_as_an_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(make_scoring("strict"), StrictScoring)
    own = Contained()
    assert make_scoring(own) is own
    named = make_scoring({f"{__name__}.Contained": {"at": 0.5}})
    assert named.score("It is Paris, I think", ["Paris"]).em == 0.5


def test_a_scoring_that_only_cuts_is_compared_strictly() -> None:
    class Whole(Scoring):
        """Scores the whole text."""

        def extract(self, text: str, answer_mark: str | None = None) -> str:
            return text

    assert Whole().score("東京。", ["東京"]).em == 1.0


def test_an_unknown_scoring_is_refused() -> None:
    with pytest.raises(ValueError, match="no scoring 'lenient'; there are published, strict"):
        make_scoring("lenient")


@pytest.mark.parametrize("name", ["published", "strict"])
def test_a_question_without_answers_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="'Paris' has no accepted answer"):
        make_scoring(name).score("Paris", [])
