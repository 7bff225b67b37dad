"""Requests for answers, and their questions as rows that wait for a batch."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from prag_lightning.answering.answers import Answer
from prag_lightning.answering.batches import QuestionRow
from prag_lightning.answering.merging import Merge
from prag_lightning.answering.open_documents import OpenDocuments
from prag_lightning.answering.pieces import TextPieces
from prag_lightning.answering.questions import METHODS, QuestionBatches
from prag_lightning.documents.records import Question

# Methods that need no gold documents.
AnswerMethod = Literal["closed_book", "rag", "prag", "combine"]


@dataclass
class WaitingRow:
    """A question that waits for a batch.

    Args:
        request: The request that it belongs to.
        row: Its prompt and documents.
        merge: The adapters that it merges.
        pieces: Decodes its tokens one by one; None if nobody follows them.
        is_answered: Whether the request has its answer.
    """

    request: "AnswerRequest"
    row: QuestionRow
    merge: Merge
    pieces: TextPieces | None
    is_answered: bool = False

    def hear(self, token: int) -> bool:
        """Pass on the text of a further token, and return whether anyone still waits for more."""
        if self.pieces is not None:
            self.request.say(self.pieces.add(token))
        return not self.request.is_done

    def restart(self) -> None:
        """Expect all tokens from the first on once more."""
        if self.pieces is not None:
            self.pieces.restart()

    def finish(self, answer: Answer) -> None:
        """Give the answer to the request."""
        if self.pieces is not None:
            self.request.say(self.pieces.end(answer.text))
        self.is_answered = True
        self.request.finish(self.row.question, answer)


class AnswerRequest:
    """Questions of one caller, who waits for ``future`` or cancels it.

    Args:
        questions: The questions, whose ids are unique.
        method: How they are answered.
        weights: Weights of the documents whose adapters are merged, by id; None for those that the
            merge rule gives to retrieved documents.
        listener: Called with each piece of the text; only for a single question.

    Raises:
        ValueError: If there is no such method, or it merges no adapters that could be weighted.
    """

    def __init__(
        self,
        questions: list[Question],
        method: AnswerMethod,
        weights: Mapping[str, float] | None = None,
        listener: Callable[[str], None] | None = None,
    ) -> None:
        known = AnswerMethod.__args__  # type: ignore[attr-defined]
        if method not in known:
            raise ValueError(
                f"there is no method '{method}' to ask; choose from {', '.join(known)}"
            )
        if weights is not None and METHODS[method].adapters == "none":
            raise ValueError(
                f"the method '{method}' merges no adapters, so it takes no weights; use prag or "
                "combine"
            )
        self.questions = questions
        self.method: AnswerMethod = method
        self.weights = None if weights is None else dict(weights)
        self.future: Future[list[Answer]] = Future()
        self._listener = listener
        self._answers: dict[str, Answer] = {}
        if not questions:
            self.future.set_result([])

    @property
    def is_done(self) -> bool:
        """Whether it was answered, has failed or was cancelled."""
        return self.future.done()

    @property
    def family(self) -> tuple[bool, OpenDocuments]:
        """What requests have in common whose rows can be answered in one batch.

        Prompts with and without passages are too different in length.
        """
        return METHODS[self.method].passages == "none", self.documents

    def answer_from(self, documents: OpenDocuments) -> None:
        """Answer from ``documents``, which are kept open until the request is done."""
        self.documents = documents
        documents.use()
        self.future.add_done_callback(lambda _: documents.release())

    def begin(self, batches: QuestionBatches) -> None:
        """Take rows from ``batches``, whose questions are those of the request."""
        self._batches = batches
        self._left = list(reversed(batches.questions))
        self._next: WaitingRow | None = None

    def next_row(self) -> WaitingRow | None:
        """Return the next row without taking it; None if there is none."""
        if self.is_done or not self._left:
            return None
        if self._next is None:
            row = self._batches.row(self._left[-1])
            pieces = TextPieces(self._batches.encoder.tokenizer) if self._listener else None
            self._next = WaitingRow(self, row, self._merge(row), pieces)
        return self._next

    def take_row(self) -> None:
        """Take the row that `next_row` has returned, even if the request was cancelled since."""
        self._left.pop()
        self._next = None

    def _merge(self, row: QuestionRow) -> Merge:
        merger = self.documents.merger
        if self.weights is None:
            return merger.choose(row.adapters)
        return merger.by_hand(self.weights, row.adapters)

    def say(self, piece: str) -> None:
        """Pass a piece of the text on."""
        if piece and self._listener is not None and not self.is_done:
            self._listener(piece)

    def finish(self, question: Question, answer: Answer) -> None:
        """Take the answer to one of the questions; the last one ends the request."""
        self._answers[question.id] = answer
        if len(self._answers) == len(self.questions):
            # It may be cancelled at any time.
            with suppress(InvalidStateError):
                self.future.set_result([self._answers[one.id] for one in self.questions])

    def fail(self, error: BaseException) -> None:
        """End the request with an error."""
        with suppress(InvalidStateError):
            self.future.set_exception(error)
