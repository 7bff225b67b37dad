"""Rankings from TREC run files, as written by Anserini, Pyserini and BEIR."""

import os
from collections.abc import Sequence
from pathlib import Path

from prag_lightning.documents.rankings import RetrievedDocument, read_run
from prag_lightning.documents.records import Question
from prag_lightning.retrieval.base import Retriever, require_positive


class RunFileRetriever(Retriever):
    """Returns the rankings in a run file with lines of ``question Q0 document rank score tag``.

    As in ``trec_eval``, documents are sorted by score, and by rank only if scores are equal.

    Args:
        run_file: The run file.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is not a run file; the message names the line.
    """

    def __init__(self, run_file: str | os.PathLike[str]) -> None:
        self._run_file = Path(run_file)
        self._run = read_run(self._run_file)

    def retrieve(self, questions: Sequence[Question], top_k: int) -> list[list[RetrievedDocument]]:
        """Return the ``top_k`` best documents of each question, best first.

        Args:
            questions: The questions, whose ids must be in the run.
            top_k: Number of documents per question. A question may have fewer only if the run's tag
                says that as many were requested, as in our own runs.

        Raises:
            ValueError: If the run lacks a question, or has too few documents for it.
        """
        require_positive(top_k)
        rankings = [self._ranking(question) for question in questions]
        if top_k > self._run.top_k:
            self._require_enough(questions, rankings, top_k)
        return [ranking[:top_k] for ranking in rankings]

    def _ranking(self, question: Question) -> list[RetrievedDocument]:
        if question.id not in self._run.rankings:
            raise ValueError(
                f"{self._run_file}: question '{question.id}' is not in the run; "
                "make the run for these questions, with the same ids"
            )
        return self._run.rankings[question.id]

    def _require_enough(
        self,
        questions: Sequence[Question],
        rankings: Sequence[Sequence[RetrievedDocument]],
        top_k: int,
    ) -> None:
        """Reject a run with too few documents, whose results would be reported as for ``top_k``."""
        short = [
            (question.id, len(ranking))
            for question, ranking in zip(questions, rankings, strict=True)
            if len(ranking) < top_k
        ]
        if short:
            question_id, num_documents = short[0]
            fewest = min(number for _, number in short)
            raise ValueError(
                f"{self._run_file}: question '{question_id}' has {num_documents} documents in the "
                f"run, but top_k is {top_k} ({len(short)} of {len(questions)} questions have too "
                f"few); make the run with {top_k} documents a question, or set top_k to {fewest}"
            )
