"""What every retriever does."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from prag_lightning.data.documents import Question


class RetrievedDocument(NamedTuple):
    """A document that was found, and how well it fits."""

    document_id: str
    score: float


class Retriever(ABC):
    """Finds documents for questions."""

    @abstractmethod
    def retrieve(self, questions: Sequence[Question], top_k: int) -> list[list[RetrievedDocument]]:
        """Return up to ``top_k`` documents for each question, best first."""
