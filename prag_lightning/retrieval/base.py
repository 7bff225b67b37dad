"""The base class of retrievers, and checks of their results."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

from prag_lightning.documents.rankings import RetrievedDocument
from prag_lightning.documents.records import Question
from prag_lightning.documents.still_running import still_running


class Retriever(ABC):
    """Finds documents for questions."""

    @abstractmethod
    def retrieve(self, questions: Sequence[Question], top_k: int) -> list[list[RetrievedDocument]]:
        """Return up to ``top_k`` documents for each question, best first.

        Args:
            questions: The questions.
            top_k: Maximum number of documents per question, at least 1.

        Returns:
            One ranking per question, in the order of the questions.
        """


def retrieve_by_question(
    retriever: Retriever, questions: Sequence[Question], top_k: int
) -> dict[str, list[RetrievedDocument]]:
    """Return the documents found for each question, by question id.

    Args:
        retriever: The retriever. Its results are checked, since it may be third-party code.
        questions: The questions.
        top_k: Maximum number of documents per question.

    Returns:
        At most ``top_k`` documents per question, best first.

    Raises:
        ValueError: If the retriever rejects a question, or returns invalid rankings.
    """
    name = type(retriever).__name__
    with still_running(lambda: f"finding documents for {len(questions)} questions ({name})"):
        found = retriever.retrieve(questions, top_k)
    if len(found) != len(questions):
        raise ValueError(
            f"{name} returned {len(found)} rankings for {len(questions)} questions; "
            "retrieve() must return one for each"
        )
    return {
        question.id: _checked(ranking, top_k, f"{name} on question '{question.id}'")
        for question, ranking in zip(questions, found, strict=True)
    }


def _checked(
    ranking: Sequence[RetrievedDocument], top_k: int, where: str
) -> list[RetrievedDocument]:
    try:
        found = [RetrievedDocument(str(one), float(score)) for one, score in ranking]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: a ranking is a list of (document_id, score)") from error
    if len(found) > top_k:
        raise ValueError(f"{where}: {len(found)} documents were found, but top_k is {top_k}")
    if len({one.document_id for one in found}) < len(found):
        raise ValueError(f"{where}: a document was found twice; a ranking holds it once")
    if bad := [one for one in found if not math.isfinite(one.score)]:
        raise ValueError(f"{where}: document '{bad[0].document_id}' has score {bad[0].score}")
    return found


def require_positive(top_k: int) -> None:
    """Check that at least one document is requested.

    Raises:
        ValueError: If ``top_k`` is less than 1.
    """
    if top_k < 1:
        raise ValueError(f"top_k is {top_k}; it must be at least 1")
