"""Retrieval of the gold documents that the questions list."""

from collections.abc import Sequence

from prag_lightning.documents.rankings import RetrievedDocument
from prag_lightning.documents.records import Question
from prag_lightning.retrieval.base import Retriever, require_positive


class GivenRetriever(Retriever):
    """Finds the documents in each question's ``document_ids``, in order, with score 1."""

    def retrieve(self, questions: Sequence[Question], top_k: int) -> list[list[RetrievedDocument]]:
        """Return the first ``top_k`` documents that each question lists.

        Args:
            questions: The questions.
            top_k: Maximum number of documents per question; a question may list fewer.

        Raises:
            ValueError: If a question lists none.
        """
        require_positive(top_k)
        return [
            [RetrievedDocument(document_id, 1.0) for document_id in self._named(question)[:top_k]]
            for question in questions
        ]

    @staticmethod
    def _named(question: Question) -> list[str]:
        if not question.document_ids:
            raise ValueError(
                f"question '{question.id}' names no document_ids; add them to the questions file, "
                "or choose another retriever"
            )
        # Remove duplicates.
        return list(dict.fromkeys(question.document_ids))
