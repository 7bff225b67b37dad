"""Scores by what retrieval found."""

import pytest

from prag_lightning.answering.answers import Evidence
from prag_lightning.evaluation.report.retrieved import by_retrieval, gold_documents
from prag_lightning.evaluation.scores import Prediction
from tests.evaluation.report.predictions import prediction


def said(method: str, number: int, f1: float, used: str, gold: str) -> Prediction:
    """What a method said with some documents; ``gold`` are those it should have had."""
    documents = [Evidence(document_id=one, score=1.0) for one in used]
    place = {"passages" if method == "rag" else "adapters": documents}
    made = prediction(method, number, f1)
    empty: dict[str, list[Evidence]] = {"passages": [], "adapters": []}
    return made.model_copy(update={**empty, **place, "document_ids": list(gold)})


PREDICTIONS = [
    said("rag", 1, 1.0, "abc", "a"),
    said("rag", 2, 0.5, "abc", "bc"),
    said("rag", 3, 0.0, "abc", "ad"),
    said("rag", 4, 0.0, "abc", "d"),
    said("prag", 1, 1.0, "abc", "a"),
    said("closed_book", 1, 1.0, "", "a"),
]


def test_answers_are_told_apart_by_whether_all_gold_documents_were_found() -> None:
    rag, prag = by_retrieval(PREDICTIONS, {})
    assert (rag.method, rag.num_found, rag.num_missed) == ("rag", 2, 2)
    assert rag.recall == pytest.approx((1 + 1 + 0.5 + 0) / 4)
    assert rag.found is not None
    assert rag.missed is not None
    assert (rag.found.mean, rag.missed.mean) == (0.75, 0.0)
    assert (prag.method, prag.missed) == ("prag", None)


def test_a_document_without_an_adapter_was_retrieved_all_the_same() -> None:
    one = said("prag", 1, 1.0, "b", "a").model_copy(
        update={"missing": [Evidence(document_id="a", score=1.0)]}
    )
    (row,) = by_retrieval([one], {})
    assert row.recall == 1.0


def test_gold_documents_of_earlier_predictions_are_those_that_own_used() -> None:
    earlier = [said("own", 1, 1.0, "xy", ""), said("rag", 1, 0.0, "xz", "")]
    assert gold_documents(earlier) == {"q1": ["x", "y"]}
    (row,) = by_retrieval(earlier, {})
    assert (row.method, row.recall) == ("rag", 0.5)
    assert by_retrieval([said("rag", 1, 0.0, "xz", "")], {}) == []
