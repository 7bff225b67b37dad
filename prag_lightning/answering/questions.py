"""Questions to evaluate, batched for one method after another."""

import random
from array import array
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast, overload

from torch.utils.data import Dataset

from prag_lightning.answering.batches import QuestionBatch, QuestionRow, collate
from prag_lightning.documents.rankings import RetrievedDocument
from prag_lightning.documents.records import Document, Question
from prag_lightning.language_model.prompts import PromptEncoder

MethodName = Literal[
    "closed_book",
    "rag",
    "rag_gold",
    "prag",
    "own",
    "other",
    "random",
    "combine",
    "combine_late",
    "rag_other",
    "task",
    "rag_task",
]
Source = Literal["none", "retrieved", "gold", "other", "strangers", "warm_start"]
_GOLD_SOURCES = ("gold", "other")


@dataclass(frozen=True)
class Method:
    """Which documents stand in the prompt, and whose adapters are merged.

    Args:
        passages: The documents in the prompt.
        adapters: The documents whose adapters are merged: ``other`` takes unrelated documents in
            place of the gold ones, ``strangers`` in place of the retrieved ones; ``warm_start`` is
            the warm start alone.
        reads_without_adapters: Whether they are active only while it answers.
        by_default: Whether it is used if no methods are named.
    """

    passages: Source = "none"
    adapters: Source = "none"
    reads_without_adapters: bool = False
    by_default: bool = True

    @property
    def needs_gold(self) -> bool:
        """Whether it can answer only questions whose gold documents are known."""
        return self.passages in _GOLD_SOURCES or self.adapters in _GOLD_SOURCES

    @property
    def needs_retrieval(self) -> bool:
        """Whether documents must be retrieved for it."""
        return self.passages == "retrieved" or self.adapters in ("retrieved", "strangers")

    @property
    def needs_store(self) -> bool:
        """Whether it merges adapters of documents."""
        return self.adapters not in ("none", "warm_start")


# `random` is routed like `own`; its adapters are then replaced by noise of the same size.
METHODS: dict[MethodName, Method] = {
    "closed_book": Method(),
    "rag": Method(passages="retrieved"),
    "rag_gold": Method(passages="gold"),
    "prag": Method(adapters="retrieved"),
    "own": Method(adapters="gold"),
    "other": Method(adapters="other"),
    "random": Method(adapters="gold"),
    "combine": Method(passages="retrieved", adapters="retrieved"),
    "combine_late": Method(
        passages="retrieved", adapters="retrieved", reads_without_adapters=True, by_default=False
    ),
    "rag_other": Method(passages="retrieved", adapters="strangers", by_default=False),
    "task": Method(adapters="warm_start", by_default=False),
    "rag_task": Method(passages="retrieved", adapters="warm_start", by_default=False),
}


def parse_methods(methods: str | Sequence[str]) -> list[MethodName]:
    """Return methods from a list of names, or from a comma-separated string.

    >>> parse_methods("prag, rag")
    ['prag', 'rag']

    Raises:
        ValueError: If there is no such method, one is named twice, or none is named.
    """
    words = methods.split(",") if isinstance(methods, str) else methods
    names = [str(word).strip() for word in words]
    known = ", ".join(METHODS)
    if unknown := [name for name in names if name not in METHODS]:
        raise ValueError(f"there is no method '{unknown[0]}'; choose from {known}")
    if not names or len(set(names)) < len(names):
        raise ValueError(f"the methods are {', '.join(names) or 'none'}; name each of them once")
    return cast(list[MethodName], names)


def require_answers(questions: Iterable[Question], source: str) -> None:
    """Refuse questions whose answers cannot be scored.

    Args:
        questions: The questions.
        source: Their source, for the message.

    Raises:
        ValueError: If a question has no accepted answer; names it.
    """
    for question in questions:
        if not question.answers:
            raise ValueError(
                f"{source}: question '{question.id}' has no 'answers', so nothing that is said to "
                "it can be scored; give it some, or take it out"
            )


def first_of_each_type(questions: Iterable[Question], limit: int) -> list[Question]:
    """Return the first ``limit`` questions of each type, in order; having no type counts as one.

    The first ``limit`` of all are among them.

    Args:
        questions: The questions, in order.
        limit: How many of each type are kept.
    """
    counts: Counter[str | None] = Counter()
    kept = []
    for question in questions:
        counts[question.type] += 1
        if counts[question.type] <= limit:
            kept.append(question)
    return kept


class _Picked(Sequence[Question]):
    """Questions of a sequence by their places in it."""

    def __init__(self, questions: Sequence[Question], places: Sequence[int]) -> None:
        self._questions = questions
        self._places = array("Q", places)

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, place: int) -> Question: ...
    @overload
    def __getitem__(self, place: slice) -> list[Question]: ...
    def __getitem__(self, place: int | slice) -> Question | list[Question]:
        if isinstance(place, slice):
            return [self._questions[number] for number in self._places[place]]
        return self._questions[self._places[place]]


class QuestionBatches(Dataset[QuestionBatch]):
    """The batches of questions that one method answers, grouped by similar length.

    Args:
        name: The method.
        questions: The questions.
        retrieved: For each question the documents that were found, best first.
        documents: All documents by id.
        encoded: Ids of those that have adapters; ``other`` draws from them.
        encoder: Encodes prompts as token ids.
        batch_size: Questions in a batch.
        max_tokens: Longest prompt; passages are cut to fit.
        not_counted: Ids of questions that the scores over all types leave out.

    Raises:
        ValueError: If the method needs gold documents and a question has none, or if a document
            that a question names is not among ``documents``.
    """

    def __init__(
        self,
        name: MethodName,
        questions: Sequence[Question],
        retrieved: Mapping[str, list[RetrievedDocument]],
        documents: Mapping[str, Document],
        encoded: Sequence[str],
        encoder: PromptEncoder,
        batch_size: int,
        max_tokens: int,
        not_counted: Container[str] = (),
    ) -> None:
        self.name = name
        self.method = METHODS[name]
        self.retrieved = retrieved
        self.documents = documents
        self.encoder = encoder
        self.batch_size = batch_size
        self.max_tokens = max_tokens
        self.not_counted = not_counted
        self.encoded = sorted(encoded)
        self._encoded = frozenset(encoded)
        lengths = [self._length(question) for question in questions]
        places = sorted(range(len(lengths)), key=lengths.__getitem__)
        self.questions: Sequence[Question] = _Picked(questions, places)

    def __len__(self) -> int:
        """Return the number of batches."""
        return -(-len(self.questions) // self.batch_size)

    def __getitem__(self, index: int) -> QuestionBatch:
        """Return one batch."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        start = index * self.batch_size
        return collate(
            self.name,
            [self.row(question) for question in self.questions[start : start + self.batch_size]],
            reads_without_adapters=self.method.reads_without_adapters,
            warm_start_only=self.method.adapters == "warm_start",
        )

    def row(self, question: Question) -> QuestionRow:
        """Return one of the questions as a row of a batch."""
        passages = self._select(self.method.passages, question)
        prompt, answer = self._encode(
            question, [self._document(found.document_id).text for found in passages]
        )
        return QuestionRow(
            question,
            self._select(self.method.adapters, question),
            passages,
            prompt,
            answer,
            question.id not in self.not_counted,
        )

    def _encode(self, question: Question, texts: list[str]) -> tuple[list[int], list[int]]:
        """Return the token ids of a prompt, and of the first accepted answer after it."""
        if question.answers:
            return self.encoder.encode_answered(
                question.question, texts, question.answers[0], self.max_tokens
            )
        return self.encoder.encode_generation(question.question, texts, self.max_tokens), []

    def _length(self, question: Question) -> int:
        """About how long a question's prompt is, in characters."""
        passages = self._select(self.method.passages, question)
        texts = (self._document(passage.document_id).text for passage in passages)
        return len(question.question) + sum(len(text) for text in texts)

    def _select(self, source: Source, question: Question) -> list[RetrievedDocument]:
        if source in ("none", "warm_start"):
            return []
        if source == "retrieved":
            return self.retrieved[question.id]
        if source == "strangers":
            found = self.retrieved[question.id]
            return self._strangers(question, [d for d in found if d.document_id in self._encoded])
        if not question.document_ids:
            raise ValueError(
                f"method '{self.name}' needs each question's gold documents, but question "
                f"'{question.id}' names none in 'document_ids'; leave the method out"
            )
        if source == "gold":
            return [RetrievedDocument(name, 1.0) for name in dict.fromkeys(question.document_ids)]
        gold = [RetrievedDocument(name, 1.0) for name in question.document_ids]
        return self._strangers(question, gold)

    def _strangers(
        self, question: Question, documents: Sequence[RetrievedDocument]
    ) -> list[RetrievedDocument]:
        """Return as many unrelated documents with the same scores, the same in every run."""
        known = {*question.document_ids, *(found.document_id for found in documents)}
        strangers = [name for name in self.encoded if name not in known]
        count = min(len(documents), len(strangers))
        drawn = random.Random(question.id).sample(strangers, count)
        replaced = zip(drawn, documents[:count], strict=True)
        return [RetrievedDocument(name, found.score) for name, found in replaced]

    def _document(self, document_id: str) -> Document:
        if document_id not in self.documents:
            raise ValueError(
                f"document '{document_id}' is named by a question or by the index, but is not in "
                "documents.jsonl or corpus.jsonl; build the index again, or add the document"
            )
        return self.documents[document_id]
