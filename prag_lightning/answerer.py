"""Answers questions from Python, with a model, a store and documents that are opened once."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from prag_lightning.adapters.merge import make_merge_rule
from prag_lightning.adapters.store.opening import AdapterStore
from prag_lightning.answering.answers import Answer, answers_with_evidence
from prag_lightning.answering.batches import QuestionBatch
from prag_lightning.answering.from_run import read_run
from prag_lightning.answering.merging import AdapterMerger
from prag_lightning.answering.questions import MethodName, QuestionBatches
from prag_lightning.answering.scoring import make_scoring
from prag_lightning.datamodule import DocumentDataModule
from prag_lightning.documents.rankings import RetrievedDocument
from prag_lightning.documents.records import Document, Question
from prag_lightning.module import ParametricRAG
from prag_lightning.retrieval.base import Retriever, retrieve_by_question

# Methods that need no gold documents.
AnswerMethod = Literal["closed_book", "rag", "prag", "combine"]


class _Request:
    """Questions of one caller, and their answers or error."""

    def __init__(self, questions: list[Question], method: AnswerMethod) -> None:
        self.questions = questions
        self.method: AnswerMethod = method
        self.answers: list[Answer] | None = None
        self.error: BaseException | None = None

    @property
    def is_done(self) -> bool:
        return self.answers is not None or self.error is not None


class _Opened(NamedTuple):
    """A store, a retriever and the documents, which belong together."""

    store: AdapterStore
    merger: AdapterMerger
    retriever: Retriever
    documents: Mapping[str, Document]


class Answerer:
    """Answers questions from documents, in the prompt, in the weights, or in both.

    Any number of threads may ask at once; waiting requests are answered together.

    >>> answerer = Answerer.from_run("runs/demo")  # doctest: +SKIP
    >>> [answer] = answerer.answer(["Where was Ada born?"])  # doctest: +SKIP

    Args:
        module: The model that answers.
        store: Folder of the adapters.
        data: The documents, their retriever, and the wording of prompts.
        merge: How adapters are weighted, as for `MergedEvaluation`.
        scoring: How answers are extracted from generated texts.
        device: Device of the model; by default a GPU if available.

    Raises:
        FileNotFoundError: If the base, the store or the documents are missing.
        ValueError: If the adapters were made for another base, prompt or warm start.
    """

    def __init__(
        self,
        module: ParametricRAG,
        store: str | Path,
        data: DocumentDataModule,
        *,
        merge: object = "anchored",
        scoring: object = "strict",
        device: str | None = None,
    ) -> None:
        self.module = module
        self.data = data
        self.scoring = make_scoring(scoring)
        self._store_dir = str(store)
        self._rule = make_merge_rule(merge)
        module.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        module.configure_model()
        # Quantized weights are already on the device.
        module.to(module.device)
        module.eval()
        data.prepare_data()
        self._lock = threading.Lock()
        self._waiting: list[_Request] = []
        self._opened = self._open()

    @classmethod
    def from_run(cls, run_dir: str | Path, **changes: Any) -> "Answerer":
        """Return an answerer with the settings of ``prag test`` in a run's folder.

        Args:
            run_dir: Root folder of a run of ``prag fit``, and possibly of ``prag test``.
            changes: Settings to override: arguments of `Answerer`, `DocumentDataModule` or
                `ParametricRAG`.

        Raises:
            FileNotFoundError: If nothing was run in the folder by the command line.
            ValueError: If there is no such setting.
        """
        run = read_run(Path(run_dir))
        for name, value in changes.items():
            parts = [part for part in (run.answerer, run.data, run.module) if name in part]
            if not parts:
                raise ValueError(f"a run has no setting '{name}' to change")
            parts[0][name] = value
        module = ParametricRAG(**run.module)
        module.use_warm_start(run.warm_start)
        return cls(module, run.store, DocumentDataModule(**run.data), **run.answerer)

    @property
    def store(self) -> AdapterStore:
        """The store of adapters."""
        return self._opened.store

    @property
    def documents(self) -> Mapping[str, Document]:
        """The documents that may be found, by id."""
        return self._opened.documents

    def refresh(self) -> None:
        """Reload documents and adapters that have been added, changed or deleted."""
        with self._lock:
            before, self._opened = self._opened, self._open()
            before.store.close()

    def close(self) -> None:
        """Close the store."""
        self._opened.store.close()

    def retrieve(self, questions: Sequence[str]) -> list[list[RetrievedDocument]]:
        """Return the documents found for each question, best first."""
        with self._lock:
            return list(self._retrieve(_numbered(questions)).values())

    def answer(self, questions: Sequence[str], method: AnswerMethod = "prag") -> list[Answer]:
        """Return an answer to each question, and the documents behind it.

        Documents that have no adapter are left out of a merge, and named in ``missing``.

        Args:
            questions: The questions.
            method: ``closed_book`` uses no documents, ``rag`` has the retrieved documents in the
                prompt, ``prag`` their adapters, ``combine`` both.

        Returns:
            The answers, in the order of the questions.

        Raises:
            ValueError: If a question is empty.
        """
        request = _Request(_numbered(questions), method)
        self._waiting.append(request)
        # The thread that holds the lock answers for all waiting threads.
        with self._lock:
            if not request.is_done:
                self._answer_waiting(method)
        if request.error is not None:
            raise request.error
        assert request.answers is not None
        return request.answers

    def _answer_waiting(self, method: AnswerMethod) -> None:
        together = [request for request in tuple(self._waiting) if request.method == method]
        for request in together:
            self._waiting.remove(request)
        try:
            self._answer(together, method)
        except Exception as error:
            if len(together) == 1:
                together[0].error = error
                return
            # A single faulty question must not fail the others.
            for request in together:
                try:
                    self._answer([request], method)
                except Exception as own_error:
                    request.error = own_error

    def _answer(self, requests: Sequence[_Request], method: AnswerMethod) -> None:
        """Answer the questions of some requests together, and give each request its answers."""
        asked = [
            question.model_copy(update={"id": f"{number} {question.id}"})
            for number, request in enumerate(requests)
            for question in request.questions
        ]
        batches = self.batches(asked, method)
        answers: dict[str, Answer] = {}
        for number in range(len(batches)):
            said, _ = self.answer_batch(batches[number])
            answers |= {answer.question_id: answer for answer in said}
        for number, request in enumerate(requests):
            request.answers = [
                answers[f"{number} {question.id}"].model_copy(update={"question_id": question.id})
                for question in request.questions
            ]

    def batches(self, questions: Sequence[Question], method: MethodName) -> QuestionBatches:
        """Return questions in batches for one method, with the documents found for each.

        Args:
            questions: The questions, each with a unique id.
            method: Any method except those with adapters of unrelated documents.
        """
        return QuestionBatches(
            method,
            questions,
            self._retrieve(questions),
            self._opened.documents,
            [],
            self.data.encoder,
            self.data.question_batch_size,
            self.data.max_tokens,
        )

    def answer_batch(
        self, batch: QuestionBatch, merge: object = None
    ) -> tuple[list[Answer], Tensor]:
        """Return the answers to a batch, and how likely the accepted ones are.

        Args:
            batch: One of `batches`.
            merge: How adapters are weighted; None for the answerer's own rule.

        Returns:
            An answer for each row, and the mean negative log-likelihood of each accepted answer's
            tokens, shape ``(rows,)``; NaN if there is none.
        """
        merger = self._opened.merger
        if merge is not None:
            merger = merger.with_rule(make_merge_rule(merge))
        template = self.data.encoder.template
        batch = batch.to(self.module.device)
        merges, route = merger.merge(batch, self.module.first_token_entropy)
        said = self.module.answer(batch, route)
        mark = template.answer_mark if template.reasons else None
        return answers_with_evidence(batch, merges, said.texts, self.scoring, mark), said.nll

    def _retrieve(self, questions: Sequence[Question]) -> dict[str, list[RetrievedDocument]]:
        return retrieve_by_question(self._opened.retriever, questions, self.data.top_k)

    def _open(self) -> _Opened:
        documents = self.data.source.read_corpus()
        store = self.module.open_store(self.data.training_encoder, self._store_dir)
        start = self.module.warm_start_row().to(self.module.device)
        layout = self.module.bank.layout
        merger = AdapterMerger(layout, store, start, self._rule, documents)
        return _Opened(store, merger, self.data.source.open_retriever(), documents)


def _numbered(questions: Sequence[str]) -> list[Question]:
    if isinstance(questions, str):
        raise ValueError(f"one question, '{questions}', was given; give a list of questions")
    for number, text in enumerate(questions, start=1):
        if not text.strip():
            raise ValueError(f"question number {number} is empty")
    return [Question(id=str(number), question=text) for number, text in enumerate(questions)]
