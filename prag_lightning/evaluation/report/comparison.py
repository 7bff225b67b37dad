"""Comparisons between methods and between runs, with intervals."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from prag_lightning.evaluation.report.retrieved import gold_documents
from prag_lightning.evaluation.report.statistics import (
    Column,
    Interval,
    Resample,
    column_intervals,
    difference,
)
from prag_lightning.evaluation.scores import ALL_TYPES, Prediction, Score

MEASURES = {"em": "EM", "f1": "F1", "answer_nll": "NLL"}
# The judged method is the first of these that was run.
_SUBJECTS = ("prag", "own", "combine")

# Methods with the same documents in the prompt.
_BESIDE_COMBINE = ("rag", "rag_other", "rag_task", "combine_late")

Intervals = Mapping[str, Interval]


@dataclass(frozen=True)
class ScoreRow:
    """A row of ``scores.json``, with intervals by measure if there are predictions."""

    score: Score
    intervals: Intervals


@dataclass(frozen=True)
class DifferenceRow:
    """Score of ``one`` minus score of ``other`` on the same questions, by measure."""

    one: str
    other: str
    type: str
    num_questions: int
    intervals: Intervals


def subject_of(methods: Iterable[str]) -> str | None:
    """Return the method that is judged, if it was run."""
    known = set(methods)
    return next((name for name in _SUBJECTS if name in known), None)


class Columns:
    """The numbers of every question, by method, type and measure.

    Args:
        predictions: The predictions of every method.
        resample: What to resample for intervals.
    """

    def __init__(self, predictions: Sequence[Prediction], resample: Resample = "questions") -> None:
        self.methods = list(dict.fromkeys(p.method for p in predictions))
        types = dict.fromkeys(p.type for p in predictions if p.type not in (None, ALL_TYPES))
        self.types = [ALL_TYPES, *(name for name in types if name is not None)]
        documents = gold_documents(predictions) if resample == "documents" else {}
        # Questions about several documents are grouped by the first of them.
        self.group_of = {question: f"document {ids[0]}" for question, ids in documents.items()}
        self._columns: dict[tuple[str, str, str], dict[str, float]] = {}
        for prediction in predictions:
            types_of_it = [ALL_TYPES] if prediction.counts_in_all else []
            if prediction.type not in (None, ALL_TYPES):
                types_of_it.append(str(prediction.type))
            for name in types_of_it:
                for measure in MEASURES:
                    value = getattr(prediction, measure)
                    if value is not None:
                        key = prediction.method, name, measure
                        self._columns.setdefault(key, {})[prediction.question_id] = value

    def get(self, method: str, type_name: str, measure: str) -> Column:
        """Return the number of each question; empty if nothing was measured.

        Args:
            method: The method.
            type_name: Type of the questions, or ``all``.
            measure: A key of `MEASURES`.
        """
        return self._columns.get((method, type_name, measure), {})


def score_rows(scores: Sequence[Score], columns: Columns) -> list[ScoreRow]:
    """Return the scores with intervals from the predictions.

    Args:
        scores: Means over questions.
        columns: The numbers of single questions.
    """
    found = column_intervals(
        {
            (score.method, score.type, measure): columns.get(score.method, score.type, measure)
            for score in scores
            for measure in MEASURES
        },
        columns.group_of,
    )
    return [
        ScoreRow(
            score,
            {m: found[key] for m in MEASURES if (key := (score.method, score.type, m)) in found},
        )
        for score in scores
    ]


def method_differences(columns: Columns) -> list[DifferenceRow]:
    """Return the differences of the judged method to each other one, and of `combine` to `rag`.

    `combine` is also compared to the other methods with the same documents in the prompt.
    """
    subject = subject_of(columns.methods)
    pairs = [(subject, other) for other in columns.methods if other != subject]
    if "combine" in columns.methods and subject != "combine":
        pairs += [("combine", name) for name in _BESIDE_COMBINE if name in columns.methods]
    sides = [
        ((columns, one), (columns, other), name)
        for one, other in pairs
        if one is not None
        for name in columns.types
    ]
    return _differences(sides, columns.group_of)


def run_differences(run: Columns, first: Columns) -> list[DifferenceRow]:
    """Return the difference of each method to the same method of the first run.

    Args:
        run: The numbers of a run's questions.
        first: The numbers of the first run's questions.
    """
    sides = [
        ((run, method), (first, method), name)
        for method in run.methods
        if method in first.methods
        for name in run.types
    ]
    return _differences(sides, first.group_of)


_Side = tuple[Columns, str]


def _differences(
    sides: Sequence[tuple[_Side, _Side, str]], group_of: Mapping[str, str]
) -> list[DifferenceRow]:
    """Return a row for each pair of methods and type with questions in common."""
    columns = {
        (side, measure): difference(run.get(one, name, measure), than.get(other, name, measure))
        for side, ((run, one), (than, other), name) in enumerate(sides)
        for measure in MEASURES
    }
    found = column_intervals(columns, group_of)
    rows = []
    for side, ((_, one), (_, other), name) in enumerate(sides):
        intervals = {m: found[side, m] for m in MEASURES if (side, m) in found}
        if "f1" in intervals:
            rows.append(DifferenceRow(one, other, name, len(columns[side, "f1"]), intervals))
    return rows
