"""Scorings: extract an answer from a generated text, and compare it with the accepted ones."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from prag_lightning.answering.agreement import (
    Tokenize,
    exact_match,
    published_tokens,
    strict_tokens,
    token_f1,
)
from prag_lightning.answering.extraction import extract_published, extract_strict
from prag_lightning.documents.extensions import make_part


class AnswerScores(NamedTuple):
    """How well an answer agrees with the accepted ones, each number from 0 to 1."""

    em: float
    f1: float
    precision: float
    recall: float


class Scoring(ABC):
    """Extracts an answer from a generated text, and compares it with the accepted ones.

    Derive from this class for a scoring of your own, and name it by its import path:
    ``--evaluation.scoring my_scorings.Contained``. Unless it says otherwise, answers are compared
    by exact match and F1 over `strict_tokens`.
    """

    @abstractmethod
    def extract(self, text: str, answer_mark: str | None = None) -> str:
        """Return the part of a text that is scored as its answer.

        Args:
            text: What the model generated, without the prompt.
            answer_mark: The words that introduce the answer, such as ``the answer is``, if the text
                is a chain of thought.
        """

    def score(self, prediction: str, answers: Sequence[str]) -> AnswerScores:
        """Return how well an extracted answer agrees with the accepted ones.

        Args:
            prediction: What `extract` returned.
            answers: The accepted answers of the question.

        Raises:
            ValueError: If there is no answer to compare with.
        """
        return compare(prediction, answers, strict_tokens)


class PublishedScoring(Scoring):
    """Scores as the published evaluation does (oneal2000/PRAG at e03742e), with its truncation."""

    def extract(self, text: str, answer_mark: str | None = None) -> str:
        """Return the text up to the first full stop, newline or comma."""
        return extract_published(text, answer_mark)

    def score(self, prediction: str, answers: Sequence[str]) -> AnswerScores:
        """Return exact match and F1 over the words of SQuAD's normalization."""
        return compare(prediction, answers, published_tokens)


class StrictScoring(Scoring):
    """Cuts answers only where they must have ended, and compares them in any script."""

    def extract(self, text: str, answer_mark: str | None = None) -> str:
        """Return the answer without what is said about it."""
        return extract_strict(text, answer_mark)


def compare(prediction: str, answers: Sequence[str], tokenize: Tokenize) -> AnswerScores:
    """Return exact match and F1 of an answer over its tokens.

    Args:
        prediction: The answer that was given.
        answers: The accepted ones, at least one.
        tokenize: Cuts them into tokens.

    Raises:
        ValueError: If there is no answer to compare with.
    """
    em = exact_match(prediction, answers, tokenize)
    return AnswerScores(em, *token_f1(prediction, answers, tokenize))


SCORINGS = {
    "published": f"{__name__}.PublishedScoring",
    "strict": f"{__name__}.StrictScoring",
}


def make_scoring(spec: object) -> Scoring:
    """Return a scoring from its name, its import path with or without settings, or itself.

    Raises:
        ValueError: If there is no such scoring.
    """
    return make_part("scoring", spec, Scoring, SCORINGS)  # type: ignore[type-abstract]
