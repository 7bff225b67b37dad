"""Progress reports for terminals and log files, including the first useless answers."""

import sys
import threading
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from prag_lightning.augmentation.requests import Reply, Request
from prag_lightning.augmentation.wording import LIST
from prag_lightning.documents.terminal import without_controls

_NUM_SHOWN = 3
_NUM_CHARACTERS = 300
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 2.0, 30.0
_TICK_S = 0.2


class Progress:
    """Counts requests and documents, and reports progress on standard error.

    This is a context manager. On a terminal it shows a bar. Elsewhere it prints a line for each
    tenth, at least two seconds apart, and at least every half minute.

    Args:
        num_documents: Number of documents to augment.
        is_silent: Whether another process reports for this one.
    """

    def __init__(self, num_documents: int, is_silent: bool = False) -> None:
        self._num_documents = num_documents
        self._num_requests = self._num_documents_done = self._num_requests_done = 0
        self._num_shown = 0
        self._is_silent = is_silent
        self._console = Console(stderr=True)
        self._bar: Bar | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep_saying, daemon=True)

    def __enter__(self) -> "Progress":
        """Start counting."""
        self._start = time.monotonic()
        if self._is_silent or not self._num_documents:
            return self
        if self._console.is_terminal:
            columns = (BarColumn(), MofNCompleteColumn(), "{task.description}")
            self._bar = Bar(*columns, TimeRemainingColumn(), console=self._console)
            self._task = self._bar.add_task("", total=None)
            self._bar.start()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop reporting."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._bar is not None:
            self._bar.stop()

    def expect(self, num_requests: int) -> None:
        """Add to the number of expected requests.

        Args:
            num_requests: Number of requests; may be negative.
        """
        self._num_requests += num_requests

    def hear(self, document_id: str, request: Request, reply: Reply, problem: str | None) -> None:
        """Count an answer, and show it if it is one of the first useless ones.

        Args:
            document_id: The document.
            request: The request.
            reply: The answer.
            problem: Why the answer cannot be used; None if it can.
        """
        self._num_requests_done += 1
        if problem is None or self._is_silent or self._num_shown == _NUM_SHOWN:
            return
        self._num_shown += 1
        said = " ".join(without_controls(reply.text).split())
        shown = said[:_NUM_CHARACTERS] + ("..." if len(said) > _NUM_CHARACTERS else "")
        self._say(f"document '{document_id}', {request.name}: {problem}; the model said: {shown!r}")
        if self._num_shown == 1 and (advice := _what_to_try(request, reply, problem)):
            self._say(f"  it is asked again; {advice}")
        if self._num_shown == _NUM_SHOWN:
            self._say("  further answers of no use are only counted")

    def finish_document(self) -> None:
        """Count a document with a known outcome."""
        self._num_documents_done += 1

    def _say(self, line: str) -> None:
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False)
        else:
            print(line, file=sys.stderr, flush=True)

    def _keep_saying(self) -> None:
        last, num_tenths = self._start, 0
        while not self._ended.wait(_TICK_S):
            done, total = self._done_and_total()
            if self._bar is not None:
                self._bar.update(self._task, completed=done, total=total, description=self._what())
                continue
            pause = time.monotonic() - last
            passed_a_tenth = done * 10 // max(total, 1) > num_tenths
            if pause >= _LONGEST_PAUSE_S or (passed_a_tenth and pause >= _SHORTEST_PAUSE_S):
                last, num_tenths = time.monotonic(), done * 10 // max(total, 1)
                self._say(f"{done} of {total} {self._what()}{self._time_to_come(done, total)}")

    def _done_and_total(self) -> tuple[int, int]:
        if self._num_requests:
            return self._num_requests_done, self._num_requests
        return self._num_documents_done, self._num_documents

    def _what(self) -> str:
        if not self._num_requests:
            return "documents"
        return f"requests, {self._num_documents_done} of {self._num_documents} documents"

    def _time_to_come(self, done: int, total: int) -> str:
        passed = time.monotonic() - self._start
        if not done:
            return f" after {_duration(passed)}"
        return f", about {_duration(passed / done * (total - done))} to come"


def _what_to_try(request: Request, reply: Reply, problem: str) -> str:
    if reply.problem is not None:
        return "a server that does not know top_k wants --sampling.top_k 0" * ("top_k" in problem)
    if request.name == LIST:
        return "small models do better with --pairs one_by_one and --sampling.temperature 0.3"
    if reply.is_cut:
        return "--sampling.max_new_tokens allows longer answers"
    return "--grounded false takes it nevertheless" * ("not in the document" in problem)


def _duration(seconds: float) -> str:
    """Return a duration in its two largest units.

    >>> [_duration(seconds) for seconds in (3.4, 80, 7300)]
    ['3 s', '1 min 20 s', '2 h 1 min']
    """
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
