"""Judges whether the adapters put knowledge of the documents into the weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from prag_lightning.evaluation.report.comparison import DifferenceRow, ScoreRow, subject_of
from prag_lightning.evaluation.report.statistics import Interval
from prag_lightning.evaluation.scores import ALL_TYPES

_CONTROLS = ("other", "random", "task")
# Share of the gain from documents in the prompt that is enough for a plain yes.
_ENOUGH = 0.5


@dataclass(frozen=True)
class Verdict:
    """The verdict for the questions of one type.

    Args:
        type: Type of the questions.
        num_questions: Number of questions.
        method: The method that is judged.
        word: Whether the method knows what only the documents say.
        reason: Why, in a sentence.
        f1: Its score.
        differences: Its F1 minus that of other methods, by their names.
    """

    type: str
    num_questions: int
    method: str
    word: Literal["yes", "partly", "no"]
    reason: str
    f1: Interval
    differences: dict[str, Interval]


def judge(rows: Sequence[ScoreRow], differences: Sequence[DifferenceRow]) -> list[Verdict]:
    """Return a verdict for each type of questions for which methods can be compared.

    It is yes if the judged method scores above the bare model and the controls, with every interval
    of the differences above 0, and gains at least half of what documents in the prompt gain.

    Args:
        rows: The scores of every method.
        differences: The differences of the judged method to each other one.
    """
    subject = subject_of(row.score.method for row in rows)
    verdicts = []
    for row in rows:
        of_row = {
            d.other: d
            for d in differences
            if d.one == subject and d.type == row.score.type and row.score.method == subject
        }
        if "closed_book" in of_row and "f1" in row.intervals:
            verdicts.append(_judge(row, of_row))
    return without_repetition(verdicts)


def without_repetition(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Return the verdicts without that of a type that holds all questions."""
    whole = next((v.num_questions for v in verdicts if v.type == ALL_TYPES), None)
    return [v for v in verdicts if v.type == ALL_TYPES or v.num_questions != whole]


def _judge(row: ScoreRow, differences: dict[str, DifferenceRow]) -> Verdict:
    f1 = {name: difference.intervals["f1"] for name, difference in differences.items()}
    equal = [name for name in _CONTROLS if name in f1 and not f1[name].is_positive]
    gained = f1["closed_book"].mean
    # Gain of documents in the prompt over the bare model.
    possible = gained - f1["rag"].mean if "rag" in f1 else 0.0
    word: Literal["yes", "partly", "no"] = "yes"
    reason = "Answers are in the weights."
    if not f1["closed_book"].is_positive:
        word, reason = "no", "No better than the model without documents."
        if _is_likelier(differences):
            reason = "Right answers are no more frequent than without documents, but likelier."
    elif equal:
        word = "partly"
        reason = f"Better than without documents, but not than {' and '.join(equal)}."
    elif gained < _ENOUGH * possible:
        word = "partly"
        reason = "Answers are in the weights, but under half of what the prompt gives."
    elif "rag" in f1 and f1["rag"].is_negative:
        reason = "Answers are in the weights, but fewer than the prompt gives."
    elif "rag" in f1:
        reason = "Answers are in the weights, as many as the prompt gives."
    score = row.score
    interval = row.intervals["f1"]
    return Verdict(score.type, score.num_questions, score.method, word, reason, interval, f1)


def _is_likelier(differences: dict[str, DifferenceRow]) -> bool:
    """Return whether right answers are likelier than for the bare model and the controls."""
    names = [name for name in ("closed_book", *_CONTROLS) if name in differences]
    nll = [differences[name].intervals.get("answer_nll") for name in names]
    return all(interval is not None and interval.is_negative for interval in nll)
