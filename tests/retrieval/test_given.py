"""Documents that the questions name."""

import pytest

from prag_lightning.documents.records import Question
from prag_lightning.retrieval.given import GivenRetriever


def test_named_documents_come_in_their_order() -> None:
    two = Question(id="a", question="who?", document_ids=["z", "y"])
    one = Question(id="b", question="who?", document_ids=["x"])
    assert GivenRetriever().retrieve([two, one], top_k=2) == [[("z", 1), ("y", 1)], [("x", 1)]]
    assert GivenRetriever().retrieve([two], top_k=1) == [[("z", 1)]]


def test_a_question_that_names_no_document_is_refused() -> None:
    with pytest.raises(ValueError, match="question 'a' names no document_ids; add them"):
        GivenRetriever().retrieve([Question(id="a", question="who?")], top_k=1)
