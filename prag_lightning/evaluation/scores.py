"""What an evaluation leaves: a prediction for every question, and a score for every method."""

import math
from collections.abc import Iterable, Sequence

import torch
from pydantic import BaseModel, ConfigDict
from rich import box
from rich.table import Table

from prag_lightning.answering.answers import Answer
from prag_lightning.documents.records import Question
from prag_lightning.evaluation.metrics import AnswerNLL, ExactMatch, TokenF1, exact_match, token_f1

ALL_TYPES = "all"


class Prediction(Answer):
    """An answer and how good it is; a line of ``predictions.jsonl``.

    Where ``data.limit`` is set, the score over all types leaves out what is not ``counts_in_all``.
    """

    type: str | None = None
    counts_in_all: bool = True
    answers: list[str]
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
    answer_nll: float | None
    questions_per_second: float


def score_answer(
    answer: Answer,
    question: Question,
    answer_nll: float,
    seconds: float,
    counts_in_all: bool = True,
) -> Prediction:
    """Return an answer with its scores; it took ``seconds`` of the run's time."""
    f1 = token_f1(answer.prediction, question.answers)
    return Prediction(
        **dict(answer),
        type=question.type,
        counts_in_all=counts_in_all,
        answers=question.answers,
        em=exact_match(answer.prediction, question.answers),
        f1=f1.f1,
        precision=f1.precision,
        recall=f1.recall,
        answer_nll=None if math.isnan(answer_nll) else answer_nll,
        seconds=seconds,
    )


def summarize(predictions: Iterable[Prediction]) -> list[Score]:
    """Return the score of every method over all questions, and over each type of them."""
    groups: dict[tuple[str, str], list[Prediction]] = {}
    for prediction in predictions:
        group = groups.setdefault((prediction.method, ALL_TYPES), [])
        if prediction.counts_in_all:
            group.append(prediction)
        if prediction.type not in (None, ALL_TYPES):
            groups.setdefault((prediction.method, prediction.type), []).append(prediction)
    return [_score(method, kind, group) for (method, kind), group in groups.items()]


def _score(method: str, kind: str, predictions: Sequence[Prediction]) -> Score:
    em, f1, nll = ExactMatch(), TokenF1(), AnswerNLL()
    texts = [prediction.prediction for prediction in predictions]
    answers = [prediction.answers for prediction in predictions]
    em.update(texts, answers)
    f1.update(texts, answers)
    known = [p.answer_nll for p in predictions if p.answer_nll is not None]
    nll.update(torch.tensor(known))
    return Score(
        method=method,
        type=kind,
        num_questions=len(predictions),
        em=em.compute().item(),
        **{name: value.item() for name, value in f1.compute().items()},
        answer_nll=nll.compute().item() if known else None,
        questions_per_second=len(predictions) / sum(p.seconds for p in predictions),
    )


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
            score.method if score.method != last else "",
            score.type,
            str(score.num_questions),
            *(f"{value:.3f}" for value in values),
            "" if nll is None else f"{nll:.3f}",
            f"{score.questions_per_second:.0f}",
        )
        last = score.method
    return table
