"""The thread that answers waiting requests, several in one batch."""

import threading
import time
from collections import deque
from collections.abc import Sequence

from prag_lightning.answering.requests import AnswerRequest, WaitingRow
from prag_lightning.answering.row_answering import RowAnswering

# Callers that were answered together ask again within milliseconds. Waiting for all of them, for at
# most this share of the time that their batch took, keeps them in one batch.
_PATIENCE_SHARE = 0.1
_LONGEST_PATIENCE_S = 0.1

CLOSED = "this Answerer is closed; open another one"


class AnsweringThread:
    """Answers requests on a thread of its own, those that wait together in one batch.

    Requests take turns: whoever was in a batch lines up behind all that were not, so that none has
    to wait for the end of a longer one. The thread starts with the first request.

    Args:
        work: What is done with requests and their rows.

    Attributes:
        is_closed: Whether further requests are refused.
    """

    def __init__(self, work: RowAnswering) -> None:
        self._work = work
        self._changed = threading.Condition()
        self._arrived: list[AnswerRequest] = []
        # The present batch, and how many requests came before any of it was answered.
        self._rows: Sequence[WaitingRow] = ()
        self._num_others = 0
        self.is_closed = False
        self._thread = threading.Thread(target=self._run, name="prag-answers", daemon=True)

    def submit(self, request: AnswerRequest) -> None:
        """Let a request wait for its answers; it fails if the thread is closed."""
        with self._changed:
            if self.is_closed:
                request.fail(ValueError(CLOSED))
                return
            if self._thread.ident is None:
                self._thread.start()
            self._arrived.append(request)
            if not any(row.is_answered for row in self._rows):
                self._num_others += 1
            self._changed.notify()

    def close(self) -> None:
        """Refuse further requests, and wait until those that were submitted are answered."""
        with self._changed:
            self.is_closed = True
            self._changed.notify()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        going: deque[AnswerRequest] = deque()
        num_expected, until = 1, 0.0
        while self._wait(bool(going), num_expected, until):
            with self._changed:
                arrived, self._arrived = self._arrived, []
                self._rows, self._num_others = (), 0
            start = time.monotonic()
            going.extend(arrived)
            try:
                self._begin(arrived)
                if rows := self._next_rows(going):
                    self._rows = rows
                    self._answer_rows(rows)
            except Exception as error:
                # Without this thread, everybody would wait forever.
                for request in going:
                    request.fail(error)
            # Else two groups of callers would take turns, each in half a batch.
            num_expected = self._num_others + sum(request.is_done for request in going)
            going = deque(request for request in going if not request.is_done)
            seconds = time.monotonic() - start
            until = start + seconds + min(_PATIENCE_SHARE * seconds, _LONGEST_PATIENCE_S)

    def _wait(self, is_busy: bool, num_expected: int, until: float) -> bool:
        """Wait for requests, and return whether there is anything to do.

        Args:
            is_busy: Whether earlier requests are still going.
            num_expected: The number of callers that were answered last, and may ask again or have
                done so, and of others that have asked meanwhile.
            until: How long to wait for all of these, on the monotonic clock.
        """
        with self._changed:
            if num_expected > 1:
                self._changed.wait_for(
                    lambda: len(self._arrived) >= num_expected or self.is_closed,
                    max(0.0, until - time.monotonic()),
                )
            if not is_busy:
                self._changed.wait_for(lambda: self._arrived or self.is_closed)
            return is_busy or bool(self._arrived)

    def _begin(self, requests: Sequence[AnswerRequest]) -> None:
        """Prepare requests together, and one by one if that fails."""
        waiting = [request for request in requests if not request.is_done]
        if not waiting:
            return
        try:
            self._work.begin(waiting)
        except Exception as error:
            if len(waiting) == 1:
                waiting[0].fail(error)
                return
            for request in waiting:
                self._begin([request])

    def _next_rows(self, going: deque[AnswerRequest]) -> list[WaitingRow]:
        """Take the rows of the next batch in turns, and move the requests they belong to back."""
        rows: list[WaitingRow] = []
        first = next((request for request in going if not request.is_done), None)
        turns = deque(r for r in going if first and not r.is_done and r.family == first.family)
        while turns:
            request = turns.popleft()
            try:
                row = request.next_row()
            except Exception as error:
                request.fail(error)
                continue
            if row is None:
                continue
            if rows and not self._work.fit([*rows, row]):
                break
            request.take_row()
            rows.append(row)
            turns.append(request)
        served = {id(row.request) for row in rows}
        behind = [request for request in going if id(request) in served]
        for request in behind:
            going.remove(request)
        going.extend(behind)
        return rows

    def _answer_rows(self, rows: Sequence[WaitingRow]) -> None:
        """Answer rows together; if that fails, each half by itself, so that none fails another."""
        try:
            self._work.answer(rows)
        except Exception as error:
            left = [row for row in rows if not row.is_answered]
            if len(rows) == 1:
                rows[0].request.fail(error)
                return
            for half in (left[: len(left) // 2], left[len(left) // 2 :]):
                for row in half:
                    row.restart()
                if half:
                    self._answer_rows(half)
