"""Whether retrieval found the gold documents, and the scores if it did or did not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from prag_lightning.evaluation.report.statistics import Interval, column_intervals
from prag_lightning.evaluation.scores import Prediction

# Methods that use retrieved documents; the others use gold documents or none.
_METHODS = ("rag", "prag", "combine")
_GOLD_METHODS = ("own", "rag_gold")


@dataclass(frozen=True)
class Retrieved:
    """The scores of one method by whether retrieval found the gold documents.

    Args:
        method: The method.
        recall: Mean share of a question's gold documents among those retrieved.
        num_found: Questions whose gold documents were all retrieved.
        num_missed: The other questions whose gold documents are known.
        found: F1 over the former; None if there are none.
        missed: F1 over the latter; None if there are none.
    """

    method: str
    recall: float
    num_found: int
    num_missed: int
    found: Interval | None
    missed: Interval | None


def gold_documents(predictions: Sequence[Prediction]) -> dict[str, list[str]]:
    """Return the gold documents of each question that has any, best known first.

    For predictions that were written without them, they are the documents used by methods that
    answer from gold documents.
    """
    gold: dict[str, list[str]] = {}
    for prediction in predictions:
        if prediction.document_ids:
            gold[prediction.question_id] = prediction.document_ids
        elif prediction.method in _GOLD_METHODS:
            used = [*prediction.adapters, *prediction.missing] or prediction.passages
            gold.setdefault(prediction.question_id, [one.document_id for one in used])
    return {question: ids for question, ids in gold.items() if ids}


def by_retrieval(predictions: Sequence[Prediction], group_of: Mapping[str, str]) -> list[Retrieved]:
    """Return a row for each method that uses retrieved documents, if gold documents are known.

    Args:
        predictions: The predictions of every method; those that count in the score over all types
            are used.
        group_of: The resampling group of each question, for intervals.
    """
    gold = gold_documents(predictions)
    rows = []
    for method in _METHODS:
        said = [
            one
            for one in predictions
            if one.method == method and one.counts_in_all and one.question_id in gold
        ]
        if said:
            recalls = {one.question_id: _recall(one, gold[one.question_id]) for one in said}
            columns: dict[bool, dict[str, float]] = {True: {}, False: {}}
            for one in said:
                columns[recalls[one.question_id] == 1][one.question_id] = one.f1
            intervals = column_intervals(columns, group_of)
            rows.append(
                Retrieved(
                    method,
                    sum(recalls.values()) / len(recalls),
                    len(columns[True]),
                    len(columns[False]),
                    intervals.get(True),
                    intervals.get(False),
                )
            )
    return rows


def _recall(prediction: Prediction, gold: Sequence[str]) -> float:
    used = [*prediction.passages, *prediction.adapters, *prediction.missing]
    retrieved = {one.document_id for one in used}
    return sum(one in retrieved for one in gold) / len(gold)
