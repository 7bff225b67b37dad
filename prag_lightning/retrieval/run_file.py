"""A ranking made elsewhere: run files of TREC, as Anserini, Pyserini and BEIR write them."""

import os
from collections.abc import Sequence
from pathlib import Path

from prag_lightning.documents.rankings import RetrievedDocument, read_run
from prag_lightning.documents.records import Question
from prag_lightning.retrieval.base import Retriever


class RunFileRetriever(Retriever):
    """Finds what a run file says: lines of ``question Q0 document rank score tag``.

    As ``trec_eval`` does, it orders by score and takes the rank only where scores are equal.
    """

    def __init__(self, run_file: str | os.PathLike[str]) -> None:
        self._run_file = Path(run_file)
        self._rankings = read_run(self._run_file)

    def retrieve(self, questions: Sequence[Question], top_k: int) -> list[list[RetrievedDocument]]:
        """Return up to ``top_k`` documents for each question, best first.

        Raises:
            ValueError: If the run knows nothing of a question.
        """
        return [self._ranking(question)[:top_k] for question in questions]

    def _ranking(self, question: Question) -> list[RetrievedDocument]:
        if question.id not in self._rankings:
            raise ValueError(
                f"{self._run_file}: question '{question.id}' is not in the run; "
                "make the run for these questions, with the same ids"
            )
        return self._rankings[question.id]
