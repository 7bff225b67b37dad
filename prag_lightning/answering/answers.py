"""The answer to a question, and the documents behind it."""

from collections.abc import Sequence

from pydantic import BaseModel

from prag_lightning.answering.batches import QuestionBatch
from prag_lightning.answering.merging import Merge
from prag_lightning.answering.scoring import Scoring
from prag_lightning.documents.rankings import RetrievedDocument
from prag_lightning.documents.records import Record


class Evidence(BaseModel):
    """A document behind an answer: its retrieval score, and the weight of its adapter."""

    document_id: str
    score: float
    weight: float | None = None


class Answer(Record):
    """One method's answer to one question, with its evidence; a line of ``answers.jsonl``.

    Args:
        method: Name of the method.
        question_id: Id of the question.
        question: The question.
        text: The generated text.
        prediction: The answer extracted from it.
        passages: The documents in the prompt.
        adapters: The documents whose adapters were merged, with their weights.
        missing: The documents without an adapter, if adapters were merged.
    """

    method: str
    question_id: str
    question: str
    text: str
    prediction: str
    passages: list[Evidence]
    adapters: list[Evidence]
    missing: list[Evidence]

    def __str__(self) -> str:
        """Return the answer, and in brackets the documents behind it with their weights."""
        behind = {e.document_id: e.document_id for e in self.passages}
        behind |= {e.document_id: f"{e.document_id} x {e.weight:.3g}" for e in self.adapters}
        return f"{self.prediction} [{', '.join(behind.values())}]" if behind else self.prediction


def answers_with_evidence(
    batch: QuestionBatch,
    merges: Sequence[Merge],
    texts: Sequence[str],
    scoring: Scoring,
    answer_mark: str | None,
) -> list[Answer]:
    """Return the answer to each question of a batch, with the documents behind it.

    Args:
        batch: The questions.
        merges: The adapters that each question merged.
        texts: The text that was generated for each.
        scoring: Extracts the answers from the texts.
        answer_mark: The words that introduce the answer if the texts are chains of thought.
    """
    return [
        answer_with_evidence(batch, row, merges[row], texts[row], scoring, answer_mark)
        for row in range(len(batch.questions))
    ]


def answer_with_evidence(
    batch: QuestionBatch,
    row: int,
    merge: Merge,
    text: str,
    scoring: Scoring,
    answer_mark: str | None,
) -> Answer:
    """Return the answer to one question of a batch, with the documents behind it.

    Args:
        batch: The questions.
        row: Which of them it is.
        merge: The adapters that it merged.
        text: The text that was generated.
        scoring: Extracts the answer from the text.
        answer_mark: As for `answers_with_evidence`.
    """
    question = batch.questions[row]
    adapters = [
        Evidence(document_id=found.document_id, score=found.score, weight=weight)
        for found, weight in zip(merge.documents, merge.weights.documents, strict=True)
    ]
    return Answer(
        method=batch.method,
        question_id=question.id,
        question=question.question,
        text=text,
        prediction=scoring.extract(text, answer_mark),
        passages=_without_weights(batch.passages[row]),
        adapters=adapters,
        missing=_without_weights(merge.missing),
    )


def _without_weights(documents: Sequence[RetrievedDocument]) -> list[Evidence]:
    return [Evidence(document_id=found.document_id, score=found.score) for found in documents]
