"""What every retriever does."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from prag_lightning.documents.rankings import RetrievedDocument
from prag_lightning.documents.records import Question


class Retriever(ABC):
    """Finds documents for questions."""

    @abstractmethod
    def retrieve(self, questions: Sequence[Question], top_k: int) -> list[list[RetrievedDocument]]:
        """Return up to ``top_k`` documents for each question, best first."""
