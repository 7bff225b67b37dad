"""Answers questions from Python, with a model, a store and documents that are opened once."""

import asyncio
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from prag_lightning.adapters.merge import make_merge_rule
from prag_lightning.adapters.store.opening import AdapterStore
from prag_lightning.answering.answering_thread import CLOSED, AnsweringThread
from prag_lightning.answering.answers import Answer
from prag_lightning.answering.batches import QuestionBatch
from prag_lightning.answering.from_run import read_run
from prag_lightning.answering.memory import BatchRoom, bytes_for_adapters, measure_room
from prag_lightning.answering.merging import AdapterMerger
from prag_lightning.answering.open_documents import OpenDocuments
from prag_lightning.answering.questions import MethodName, QuestionBatches
from prag_lightning.answering.requests import AnswerMethod, AnswerRequest
from prag_lightning.answering.resident import ResidentAdapters
from prag_lightning.answering.row_answering import RowAnswering
from prag_lightning.answering.scoring import make_scoring
from prag_lightning.answering.streams import AnswerStream, AsyncAnswerStream
from prag_lightning.datamodule import DocumentDataModule
from prag_lightning.documents.closing import ClosedAtEnd
from prag_lightning.documents.rankings import RetrievedDocument
from prag_lightning.documents.records import Document, Question
from prag_lightning.module import ParametricRAG


class Answerer(ClosedAtEnd):
    """Answers questions from documents, in the prompt, in the weights, or in both.

    Any number of threads and tasks may ask at once: one thread answers them all, and what waits
    together is answered in one batch, whatever the methods and weights. Callers take turns, so that
    a long list of questions does not keep others waiting. Batches are as large as
    ``data.question_batch_size`` and half of the free memory allow; adapters of the documents used
    last stay in a tenth of it.

    >>> with Answerer.from_run("runs/demo") as answerer:  # doctest: +SKIP
    ...     [answer] = answerer.answer(["Where was Ada born?"])

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
        # Held while the documents are exchanged.
        self._opening = threading.Lock()
        self._opened = self._open()
        self._work = RowAnswering(
            lambda batch, *how: module.answer(batch.to(module.device), *how),
            lambda batch, route: module.first_token_entropy(batch.to(module.device), route),
            data.encoder,
            self.scoring,
            data.top_k,
            data.max_tokens,
            data.question_batch_size,
            partial(_measure_room, module, data.question_batch_size),
        )
        self._thread = AnsweringThread(self._work)
        # Also at the end of the program, while the model can still be used.
        weakref.finalize(self, self._thread.close)

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

    @property
    def batch_sizes(self) -> Mapping[int, int]:
        """How many batches there were of each number of questions."""
        return self._work.batch_sizes.copy()

    @property
    def num_resident(self) -> int:
        """How many adapters are kept in memory."""
        adapters = self._opened.merger.adapters
        return adapters.num_resident if isinstance(adapters, ResidentAdapters) else 0

    def refresh(self) -> None:
        """Reload documents and adapters that have been added, changed or deleted.

        Questions that were asked before are answered from what was there.

        Raises:
            ValueError: If the answerer is closed.
        """
        self._require_open()
        new = self._open()
        with self._opening:
            before, self._opened = self._opened, new
        before.retire()
        if self._thread.is_closed:
            new.retire()

    def close(self) -> None:
        """Answer what was asked before, refuse further questions, and close the store."""
        self._thread.close()
        with self._opening:
            self._opened.retire()

    def _require_open(self) -> None:
        if self._thread.is_closed:
            raise ValueError(CLOSED)

    def retrieve(self, questions: Sequence[str]) -> list[list[RetrievedDocument]]:
        """Return the documents found for each question, best first."""
        asked = _numbered(questions)
        with self._documents_in_use() as opened:
            return list(opened.retrieve(asked, self.data.top_k).values())

    def answer(
        self,
        questions: Sequence[str],
        method: AnswerMethod = "prag",
        *,
        weights: Mapping[str, float] | None = None,
    ) -> list[Answer]:
        """Return an answer to each question, and the documents behind it.

        Documents that have no adapter are left out of a merge, and named in ``missing``.

        Args:
            questions: The questions.
            method: ``closed_book`` uses no documents, ``rag`` has the retrieved documents in the
                prompt, ``prag`` their adapters, ``combine`` both.
            weights: Documents whose adapters are merged instead of those of the retrieved ones, by
                id, each with its weight; ``prag`` and ``combine`` only. See `MergeRule.by_hand`.

        Returns:
            The answers, in the order of the questions.

        Raises:
            ValueError: If a question is empty, the method is unknown, a weight is not finite or is
                of a document without an adapter, or the answerer is closed.
        """
        answers = self._submit(questions, method, weights)
        try:
            return answers.result()
        # Ctrl-C gives the questions up.
        except BaseException:
            answers.cancel()
            raise

    async def aanswer(
        self,
        questions: Sequence[str],
        method: AnswerMethod = "prag",
        *,
        weights: Mapping[str, float] | None = None,
    ) -> list[Answer]:
        """Return what `answer` returns, without blocking the event loop.

        If the task is cancelled, its questions are given up.

        Args:
            questions: The questions.
            method: As for `answer`.
            weights: As for `answer`.

        Raises:
            ValueError: As for `answer`.
        """
        return await asyncio.wrap_future(self._submit(questions, method, weights))

    def stream(
        self,
        question: str,
        method: AnswerMethod = "prag",
        *,
        weights: Mapping[str, float] | None = None,
    ) -> AnswerStream:
        """Return an iterator over the pieces of an answer's text, as they are generated.

        Put together, the pieces are the ``text`` that `answer` returns. The last item is the
        `Answer`. Closing the iterator ends the generation.

        Args:
            question: The question.
            method: As for `answer`.
            weights: As for `answer`.

        Raises:
            ValueError: As for `answer`; about documents and weights, from the first item.
        """
        return AnswerStream(partial(self._submit, [question], method, weights))

    def astream(
        self,
        question: str,
        method: AnswerMethod = "prag",
        *,
        weights: Mapping[str, float] | None = None,
    ) -> AsyncAnswerStream:
        """Return what `stream` returns, as an asynchronous iterator.

        Args:
            question: The question.
            method: As for `answer`.
            weights: As for `answer`.

        Raises:
            ValueError: As for `stream`.
        """
        return AsyncAnswerStream(partial(self._submit, [question], method, weights))

    def _submit(
        self,
        questions: Sequence[str],
        method: AnswerMethod,
        weights: Mapping[str, float] | None,
        listener: Callable[[str], None] | None = None,
    ) -> "Future[list[Answer]]":
        """Ask questions; the result is what `answer` returns."""
        self._require_open()
        request = AnswerRequest(_numbered(questions), method, weights, listener)
        with self._opening:
            request.answer_from(self._opened)
        self._thread.submit(request)
        return request.future

    # ---------------------------------------------------------------- batch by batch

    def batches(self, questions: Sequence[Question], method: MethodName) -> QuestionBatches:
        """Return questions in batches for one method, with the documents found for each.

        Args:
            questions: The questions, each with a unique id.
            method: Any method except those with adapters of unrelated documents.
        """
        with self._documents_in_use() as opened:
            found = opened.retrieve(questions, self.data.top_k)
            return self._work.batches(method, questions, found, opened)

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
        with self._documents_in_use() as opened:
            merger = opened.merger
            if merge is not None:
                merger = merger.with_rule(make_merge_rule(merge))
            return self._work.answer_batch(batch, merger, merger.choose_all(batch))

    @contextmanager
    def _documents_in_use(self) -> Iterator[OpenDocuments]:
        self._require_open()
        with self._opening:
            opened = self._opened
            opened.use()
        try:
            yield opened
        finally:
            opened.release()

    def _open(self) -> OpenDocuments:
        documents = self.data.source.read_corpus()
        store = self.module.open_store(self.data.training_encoder, self._store_dir)
        start = self.module.warm_start_row().to(self.module.device)
        adapters = ResidentAdapters(store, start, bytes_for_adapters(start.device))
        layout = self.module.bank.layout
        merger = AdapterMerger(layout, adapters, start, self._rule, documents)
        return OpenDocuments(store, merger, self.data.source.open_retriever(), documents)


def _measure_room(module: ParametricRAG, num_rows: int) -> BatchRoom:
    assert module.base is not None
    return measure_room(module.base, module.bank.layout, num_rows, module.max_new_tokens)


def _numbered(questions: Sequence[str]) -> list[Question]:
    if isinstance(questions, str):
        raise ValueError(f"one question, '{questions}', was given; give a list of questions")
    for number, text in enumerate(questions, start=1):
        if not text.strip():
            raise ValueError(f"question number {number} is empty")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"question number {number} has half of a character, {text[error.start]!a}, at "
                f"place {error.start + 1}; write it in UTF-8"
            ) from None
    return [Question(id=str(number), question=text) for number, text in enumerate(questions)]
