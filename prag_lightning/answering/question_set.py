"""Questions with all that is needed to ask them by any method."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch.utils.data import Dataset

from prag_lightning.answering.batches import QuestionBatch
from prag_lightning.answering.questions import (
    METHODS,
    MethodName,
    QuestionBatches,
    first_of_each_type,
    require_answers,
)
from prag_lightning.documents.rankings import RetrievedDocument
from prag_lightning.documents.records import Document, Question
from prag_lightning.documents.stored import StoredQuestions
from prag_lightning.language_model.prompts import PromptEncoder
from prag_lightning.retrieval.base import Retriever, retrieve_by_question


@dataclass(frozen=True)
class QuestionSet:
    """Questions, the documents found for them, and the methods that answer.

    Args:
        questions: The questions of this process.
        methods: Names of the methods.
        not_counted: Ids of questions that the scores over all types leave out.
        retrieved: The documents found for each question, best first.
        documents: All documents that may stand in a prompt, by id.
        encoded: Ids of the documents that have adapters.
    """

    questions: Sequence[Question]
    methods: list[MethodName]
    not_counted: frozenset[str]
    retrieved: Mapping[str, list[RetrievedDocument]]
    documents: Mapping[str, Document]
    encoded: Sequence[str]

    @classmethod
    def read(
        cls,
        source: str | Path | Iterable[Question],
        *,
        methods: Sequence[MethodName] | None,
        needs_answers: bool,
        limit: int | None,
        place: tuple[int, int],
        open_retriever: Callable[[], Retriever],
        top_k: int,
        documents: Mapping[str, Document],
        encoded: Sequence[str],
    ) -> "QuestionSet":
        """Return a set of questions, and retrieve documents for them.

        Args:
            source: A file of questions, or the questions.
            methods: The methods that answer; None for all that the questions allow.
            needs_answers: Whether answers are scored.
            limit: Take only the first questions, this many of each type.
            place: Rank of this process, and the number of processes.
            open_retriever: Opens the retriever, if a method needs one.
            top_k: How many documents are retrieved for a question.
            documents: All documents that may be found, by id.
            encoded: Ids of the documents that have adapters.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If there are no questions, or one cannot be scored.
        """
        questions: Sequence[Question]
        if isinstance(source, str | Path):
            where, questions = str(source), StoredQuestions.open(source)
        else:
            where, questions = "the questions", _checked(source)
        if not questions:
            raise ValueError(f"{where}: there are no questions to answer; give at least one")
        if needs_answers:
            require_answers(questions, where)
        not_counted: frozenset[str] = frozenset()
        if limit is not None:
            first = {question.id for question in questions[:limit]}
            questions = first_of_each_type(questions, limit)
            not_counted = frozenset(one.id for one in questions if one.id not in first)
        if methods is None:
            all_known = all(question.document_ids for question in questions)
            methods = [
                name
                for name, method in METHODS.items()
                if method.by_default and (all_known or not method.needs_gold)
            ]
        rank, num_processes = place
        own = questions[rank::num_processes]
        retrieved: dict[str, list[RetrievedDocument]] = {}
        if any(METHODS[name].needs_retrieval for name in methods):
            retrieved = retrieve_by_question(open_retriever(), own, top_k)
        return cls(own, list(methods), not_counted, retrieved, documents, encoded)

    @property
    def needs_adapters(self) -> bool:
        """Whether a method merges adapters of documents."""
        return any(METHODS[name].needs_store for name in self.methods)

    def batches(
        self, method: MethodName, encoder: PromptEncoder, batch_size: int, max_tokens: int
    ) -> Dataset[QuestionBatch]:
        """Return the batches of questions for one method.

        Args:
            method: Name of the method.
            encoder: Encodes prompts as token ids.
            batch_size: Questions in a batch.
            max_tokens: Longest prompt; passages are cut to fit.
        """
        return QuestionBatches(
            method,
            self.questions,
            self.retrieved,
            self.documents,
            self.encoded,
            encoder,
            batch_size,
            max_tokens,
            self.not_counted,
        )


def _checked(questions: Iterable[Question]) -> list[Question]:
    checked = list(questions)
    ids = set()
    for number, question in enumerate(checked, start=1):
        if not isinstance(question, Question):
            raise ValueError(
                f"number {number} of the questions is a {type(question).__name__}, not a Question; "
                'make one with Question(id="...", question="...", answers=["..."])'
            )
        if question.id in ids:
            raise ValueError(f"question '{question.id}' is there twice; give each its own id")
        ids.add(question.id)
    return checked
