"""A run that answers: loads it, keeps count of what waits, and hands answers over as they grow."""

import logging
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Literal

from prag_lightning.answerer import Answerer
from prag_lightning.answering.answers import Answer
from prag_lightning.documents.records import Document
from prag_lightning.serving.additions import Addition, Additions
from prag_lightning.serving.chat_question import ChatQuestion
from prag_lightning.serving.encoder import BackgroundEncoder
from prag_lightning.serving.errors import RefusalError
from prag_lightning.serving.metrics import ServingMetrics, Snapshot
from prag_lightning.serving.settings import ServingSettings

_LOGGER = logging.getLogger(__name__)
_RETRY_AFTER = 1


class Service:
    """Answers questions of many clients from one run.

    Args:
        settings: The service's settings.
        on_failure: Called if the run cannot be opened.

    Attributes:
        metrics: Where answers are counted.
        additions: The documents that were added.
        problem: Why the run could not be opened.
    """

    def __init__(self, settings: ServingSettings, on_failure: Callable[[], None]) -> None:
        self.settings = settings
        self.metrics = ServingMetrics(self._snapshot)
        self.problem: BaseException | None = None
        self._on_failure = on_failure
        self._folder = settings.run_dir / "serving"
        self.additions = Additions(self._folder)
        self._encoder: BackgroundEncoder | None = None
        self._answerer: Answerer | None = None
        self._loader = threading.Thread(target=self._load, name="loader")
        self._num_waiting = 0

    @property
    def status(self) -> Literal["loading", "ready"]:
        """Whether questions can be asked yet."""
        return "loading" if self._answerer is None else "ready"

    @property
    def answerer(self) -> Answerer:
        """The run.

        Raises:
            RefusalError: If it is being loaded.
        """
        if self._answerer is None:
            raise RefusalError(503, "the run is being loaded", retry_after=_RETRY_AFTER)
        return self._answerer

    def _snapshot(self) -> Snapshot:
        answerer = self._answerer
        documents = self.additions.counts()
        if answerer is None:
            return Snapshot(documents=documents)
        return Snapshot(answerer.batch_sizes, answerer.num_resident, documents)

    @property
    def progress(self) -> float | None:
        """How much is done of the documents that are being encoded; None if that is not known."""
        return None if self._encoder is None else self._encoder.progress

    def start(self) -> None:
        """Open the run in a thread, and go on with documents that wait to be encoded."""
        self._loader.start()

    def end(self) -> None:
        """Stop encoding, and close the run; what waits is kept for the next start."""
        self._loader.join()
        if self._encoder is not None:
            self._encoder.end()
        if self._answerer is not None:
            self._answerer.close()

    def add(self, document: Document) -> Addition:
        """Accept a document, which is on the disk when this returns, and encode it later.

        Raises:
            ValueError: If another document is on its way under the same id.
            OSError: If it cannot be written, as on a full disk.
        """
        addition = self.additions.accept(document)
        assert self._encoder is not None
        self._encoder.wake()
        return addition

    def _load(self) -> None:
        begun = time.perf_counter()
        try:
            run_dir = self.settings.run_dir
            answerer = Answerer.from_run(run_dir)
            self._encoder = BackgroundEncoder(self.additions, answerer, run_dir, self._folder)
            self._encoder.start()
        except BaseException as error:
            self.problem = error
            self._on_failure()
            return
        self._answerer = answerer
        seconds = round(time.perf_counter() - begun, 2)
        _LOGGER.info("ready", extra={"run": str(run_dir), "seconds": seconds})

    async def answer(self, question: ChatQuestion) -> Answer:
        """Return an answer.

        Args:
            question: The question.

        Raises:
            RefusalError: If too many questions wait, the run is being loaded, or the question
                cannot be answered.
        """
        answerer = self.answerer
        with self._waiting(question) as clock:
            [answer] = await answerer.aanswer(
                [question.text], question.method, weights=question.weights
            )
            clock.note(answer)
            return answer

    async def pieces(self, question: ChatQuestion) -> AsyncGenerator[str | Answer, None]:
        """Yield the text of an answer piece by piece, and the answer at the end.

        Args:
            question: The question.

        Yields:
            Pieces of the text, and last the answer.

        Raises:
            RefusalError: If too many questions wait, the run is being loaded, or the question
                cannot be answered.
        """
        answerer = self.answerer
        with self._waiting(question) as clock:
            stream = answerer.astream(question.text, question.method, weights=question.weights)
            async with aclosing(stream) as pieces:
                async for piece in pieces:
                    clock.note(piece)
                    yield piece

    @contextmanager
    def _waiting(self, question: ChatQuestion) -> Iterator["_Clock"]:
        if self._num_waiting >= self.settings.max_waiting:
            self.metrics.answers.labels(question.method, "refused").inc()
            raise RefusalError(
                503,
                f"{self._num_waiting} questions wait already; try again later",
                code="queue_full",
                retry_after=_RETRY_AFTER,
            )
        clock = _Clock(self.metrics, question.method)
        self._count(1)
        try:
            yield clock
        except ValueError as error:
            # What the question, or the documents that it names, are at fault for.
            raise RefusalError(400, str(error)) from error
        finally:
            self._count(-1)
            clock.stop()

    def _count(self, change: int) -> None:
        self._num_waiting += change
        self.metrics.waiting.set(self._num_waiting)


class _Clock:
    """Times one answer."""

    def __init__(self, metrics: ServingMetrics, method: str) -> None:
        self._metrics = metrics
        self._method = method
        self._begun = time.perf_counter()
        self._has_piece = self._is_whole = False

    def note(self, piece: str | Answer) -> None:
        """Note the time of a piece."""
        seconds = time.perf_counter() - self._begun
        if not self._has_piece:
            self._has_piece = True
            self._metrics.first_piece_seconds.labels(self._method).observe(seconds)
        if isinstance(piece, Answer):
            self._is_whole = True
            self._metrics.answer_seconds.labels(self._method).observe(seconds)

    def stop(self) -> None:
        """Count the answer."""
        outcome = "whole" if self._is_whole else "given_up"
        self._metrics.answers.labels(self._method, outcome).inc()
