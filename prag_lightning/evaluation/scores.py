"""The results of an evaluation: a prediction for every question, a score for every method."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict, Field
from rich import box
from rich.table import Table
from torchmetrics import Metric, MetricCollection

from prag_lightning.answering.answers import Answer
from prag_lightning.answering.scoring import Scoring
from prag_lightning.documents.records import Question
from prag_lightning.documents.terminal import plain_text
from prag_lightning.evaluation.metrics import question_metrics

ALL_TYPES = "all"
NO_NLL = (
    "NLL is empty where it cannot be measured: after a chain of thought, which nobody can know "
    "beforehand, and where no answer is accepted"
)
# Names of metrics that differ from the fields of `Score`.
_FIELDS = {"nll": "answer_nll"}


class Prediction(Answer):
    """An answer with its scores; a line of ``predictions.jsonl``.

    Args:
        type: Type of the question.
        counts_in_all: Whether it counts in the score over all types; with ``data.limit``, some
            questions count only in their type.
        answers: The accepted answers.
        document_ids: The gold documents of the question, if known.
        em: Exact match, 0 or 1.
        f1: F1 over tokens, from 0 to 1, like the next two.
        precision: Share of the answer's tokens that are in an accepted answer.
        recall: Share of an accepted answer's tokens that are in the answer.
        answer_nll: Negative log-likelihood of an accepted answer, in nats per token.
        seconds: Time that the answer took: its share of the run's.
    """

    type: str | None = None
    counts_in_all: bool = True
    answers: list[str]
    document_ids: list[str] = Field(default_factory=list)
    em: float
    f1: float
    precision: float
    recall: float
    answer_nll: float | None = None
    seconds: float


class Score(BaseModel):
    """The means of one method over the questions of one type; a row of ``scores.json``."""

    model_config = ConfigDict(frozen=True)

    method: str
    type: str
    num_questions: int
    em: float
    f1: float
    precision: float
    recall: float
    answer_nll: float | None = None
    questions_per_second: float


def score_answer(
    answer: Answer,
    question: Question,
    answer_nll: float,
    seconds: float,
    counts_in_all: bool,
    scoring: Scoring,
) -> Prediction:
    """Return an answer with its scores.

    Args:
        answer: The answer of one method.
        question: The question, with its accepted answers.
        answer_nll: Negative log-likelihood of an accepted answer's tokens, in nats per token; NaN
            if unknown.
        seconds: Time that the answer took: its share of the run's.
        counts_in_all: Whether the question counts in the score over all types.
        scoring: Compares the answer with the accepted ones.

    Raises:
        ValueError: If the question has no accepted answer.
    """
    return Prediction(
        **dict(answer),
        **scoring.score(answer.prediction, question.answers)._asdict(),
        type=question.type,
        counts_in_all=counts_in_all,
        answers=question.answers,
        document_ids=question.document_ids,
        answer_nll=None if math.isnan(answer_nll) else answer_nll,
        seconds=seconds,
    )


@dataclass
class _Group:
    """The sums over the questions of one type for one method."""

    metrics: MetricCollection = field(default_factory=question_metrics)
    num_questions: int = 0
    seconds: float = 0.0

    def update(self, predictions: Sequence[Prediction]) -> None:
        self.metrics.update(predictions)
        self.num_questions += len(predictions)
        self.seconds += sum(prediction.seconds for prediction in predictions)

    def means(self) -> dict[str, float]:
        """Return the means by name, without those for which no question has a value."""
        means = {name: mean.item() for name, mean in self.metrics.compute().items()}
        return {name: mean for name, mean in means.items() if not math.isnan(mean)}


class EvaluationScores:
    """Scores of every method, over all questions and over each type of them.

    Holds a `torchmetrics.MetricCollection` for each method and type of questions, see
    `question_metrics`.
    """

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str], _Group] = {}

    def update(self, predictions: Sequence[Prediction]) -> None:
        """Count some predictions, of any methods and types."""
        by_group: dict[tuple[str, str], list[Prediction]] = {}
        for prediction in predictions:
            # Methods and types keep the order of their first appearance.
            everything = by_group.setdefault((prediction.method, ALL_TYPES), [])
            if prediction.counts_in_all:
                everything.append(prediction)
            if prediction.type not in (None, ALL_TYPES):
                by_group.setdefault((prediction.method, prediction.type), []).append(prediction)
        for key, group in by_group.items():
            self._groups.setdefault(key, _Group()).update(group)

    def compute(self) -> list[Score]:
        """Return the scores so far, method by method: over all questions, then by type."""
        return [
            Score(
                method=method,
                type=kind,
                num_questions=group.num_questions,
                # A coarse clock may measure no time at all.
                questions_per_second=group.num_questions / max(group.seconds, 1e-9),
                **{_FIELDS.get(name, name): mean for name, mean in group.means().items()},
            )
            for (method, kind), group in self._ordered()
        ]

    def metrics_of(self, method: str) -> dict[str, Metric]:
        """Return the metrics of one method that have been updated, by the names of `means`."""
        return {
            _metric_name(method, kind, name): metric
            for (own, kind), group in self._ordered()
            if own == method
            for name, metric in group.metrics.items()
            if not metric.compute().isnan()
        }

    def means(self) -> dict[str, float]:
        """Return the means so far by names such as ``prag/em`` and ``prag/one_hop/em``."""
        return {
            _metric_name(method, kind, name): mean
            for (method, kind), group in self._ordered()
            for name, mean in group.means().items()
        }

    def _ordered(self) -> list[tuple[tuple[str, str], _Group]]:
        """Return the groups that have questions; all methods list their types in the same order."""
        methods = list(dict.fromkeys(method for method, _ in self._groups))

        def place(item: tuple[tuple[str, str], _Group]) -> tuple[int, bool, str]:
            (method, kind), _ = item
            return methods.index(method), kind != ALL_TYPES, kind

        counted = [item for item in self._groups.items() if item[1].num_questions]
        return sorted(counted, key=place)


def _metric_name(method: str, kind: str, name: str) -> str:
    return f"{method}/{name}" if kind == ALL_TYPES else f"{method}/{kind}/{name}"


def summarize(predictions: Sequence[Prediction]) -> list[Score]:
    """Return the score of every method over all questions, and over each type of them."""
    scores = EvaluationScores()
    scores.update(predictions)
    return scores.compute()


def score_table(scores: Sequence[Score]) -> Table:
    """Return the scores as a table for a terminal."""
    table = Table(header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("method", "questions"):
        table.add_column(name, no_wrap=True)
    for name in ("n", "EM", "F1", "prec.", "recall", "NLL", "q/s"):
        table.add_column(name, justify="right", no_wrap=True)
    last = ""
    for score in scores:
        if score.method != last:
            table.add_section()
        values = (score.em, score.f1, score.precision, score.recall)
        nll = score.answer_nll
        table.add_row(
            plain_text(score.method if score.method != last else ""),
            plain_text(score.type),
            str(score.num_questions),
            *(f"{value:.3f}" for value in values),
            "" if nll is None else f"{nll:.3f}",
            rate_text(score.questions_per_second),
        )
        last = score.method
    if any(score.answer_nll is None for score in scores):
        table.caption = NO_NLL
        table.caption_justify = "left"
    return table


def rate_text(rate: float) -> str:
    """Return a rate with two significant digits, or all digits before the point.

    >>> [rate_text(rate) for rate in (1234.4, 63.2, 2.04, 0.213)]
    ['1234', '63', '2', '0.21']
    """
    return f"{rate:.0f}" if rate >= 10 else f"{rate:.2g}"
