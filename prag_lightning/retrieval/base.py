"""What every retriever does."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from prag_lightning.data.documents import Question


class RetrievedDocument(NamedTuple):
    """A document that was found, and how well it fits."""

    document_id: str
    score: float


class Retriever(Protocol):
    """Finds documents for questions."""

    def retrieve(self, questions: Sequence[Question], top_k: int) -> list[list[RetrievedDocument]]:
        """Return up to ``top_k`` documents for each question, best first."""
        ...
