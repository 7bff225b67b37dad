"""What is expected of a retriever's results."""

from collections.abc import Sequence
from typing import Any

import pytest

from prag_lightning.documents.rankings import RetrievedDocument
from prag_lightning.documents.records import Question
from prag_lightning.retrieval.base import Retriever, retrieve_by_question

ASKED = [Question(id="q1", question="who?"), Question(id="q2", question="where?")]


class Saying(Retriever):
    """Returns what it was made with."""

    def __init__(self, found: Any) -> None:
        self.found = found

    def retrieve(self, questions: Sequence[Question], top_k: int) -> list[list[RetrievedDocument]]:
        return self.found  # type: ignore[no-any-return]


def test_rankings_come_by_question() -> None:
    found = [[RetrievedDocument("a", 1.0)], [("b", 2), ("c", 1)]]
    assert retrieve_by_question(Saying(found), ASKED, 2) == {
        "q1": [RetrievedDocument("a", 1.0)],
        "q2": [RetrievedDocument("b", 2.0), RetrievedDocument("c", 1.0)],
    }
    assert retrieve_by_question(Saying([]), [], 2) == {}


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        ([[]], "Saying returned 1 rankings for 2 questions; retrieve"),
        ([[], ["a"]], r"Saying on question 'q2': a ranking is a list of \(document_id, score\)"),
        ([[("a", "x")], []], "Saying on question 'q1': a ranking is a list of"),
        ([[("a", 1), ("b", 1), ("c", 1)], []], "'q1': 3 documents were found, but top_k is 2"),
        ([[], [("a", 1), ("a", 2)]], "'q2': a document was found twice"),
        ([[("a", float("nan"))], []], "'q1': document 'a' has score nan"),
        ([None, []], "'q1': a ranking is a list of"),
    ],
)
def test_what_is_no_ranking_is_refused(found: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        retrieve_by_question(Saying(found), ASKED, 2)
