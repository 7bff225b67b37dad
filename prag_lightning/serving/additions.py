"""Documents that were added to a running service: a journal on disk, and the state of each."""

import threading
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from prag_lightning.documents.appending import append_lines
from prag_lightning.documents.digests import text_digest
from prag_lightning.documents.records import Document, Record, parse_line
from prag_lightning.documents.writing import sync_path, write_whole

State = Literal["waiting", "encoding", "stored", "failed"]
JOURNAL = "additions.jsonl"
# How many of those that are done are remembered, for their times.
_MOST_DONE = 10_000


class Addition(BaseModel):
    """A document on its way from a request to an adapter.

    Args:
        id: Id of the document.
        title: Its title.
        state: ``waiting``, ``encoding``, ``stored`` (questions find it) or ``failed``.
        accepted: When it was accepted.
        finished: When it was stored, or failed.
        problem: Why it failed.
    """

    id: str
    title: str = ""
    state: State
    accepted: datetime | None = None
    finished: datetime | None = None
    problem: str | None = None


class _Event(Record):
    """A line of the journal; an accepted document is in it as a whole."""

    time: str
    id: str
    state: State
    document: Document | None = None
    problem: str | None = None


class Additions:
    """The added documents of a run. What was accepted is on the disk before `accept` returns.

    Threads may use it at once.

    Args:
        folder: Folder of the journal.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._journal = folder / JOURNAL
        self._lock = threading.Lock()
        self._known: dict[str, Addition] = {}
        self._open: dict[str, Document] = {}
        for event in _read(self._journal):
            self._note(event)
        # A server that was killed has encoded nothing that it did not say.
        for document_id in self._open:
            self._known[document_id].state = "waiting"
        self._forget_done()
        self._compact()

    @property
    def num_open(self) -> int:
        """How many documents wait or are being encoded."""
        return len(self._open)

    def counts(self) -> Counter[str]:
        """Return how many documents are in each state."""
        with self._lock:
            return Counter(addition.state for addition in self._known.values())

    def find(self, document_id: str) -> Addition | None:
        """Return the state of a document; None if it was never added."""
        with self._lock:
            found = self._known.get(document_id)
            return None if found is None else found.model_copy()

    def all(self) -> list[Addition]:
        """Return all that are known, the latest first."""
        with self._lock:
            return [addition.model_copy() for addition in reversed(self._known.values())]

    def accept(self, document: Document) -> Addition:
        """Write a document to the journal, and return its state.

        Raises:
            ValueError: If another text is on its way under the same id.
            OSError: If it cannot be written, as on a full disk.
        """
        with self._lock:
            known = self._open.get(document.id)
            if known is not None and text_digest(known) != text_digest(document):
                raise ValueError(
                    f"another document with the id '{document.id}' is being encoded; give this "
                    "one another id"
                )
            if known is None:
                self._write(_event(document.id, "waiting", document))
            return self._known[document.id].model_copy()

    def take(self, most: int) -> list[Document]:
        """Return documents that wait, the oldest first, and mark them as being encoded.

        Args:
            most: How many at most.
        """
        with self._lock:
            taken = list(self._open.values())[:most]
            for document in taken:
                self._known[document.id].state = "encoding"
            return taken

    def put_back(self, documents: Iterable[Document]) -> None:
        """Let those of some documents that are not done wait again."""
        with self._lock:
            for document in documents:
                if document.id in self._open:
                    self._known[document.id].state = "waiting"

    def finish(self, document_id: str, problem: str | None = None) -> None:
        """Note that a document is stored, or why it is not.

        Args:
            document_id: The document.
            problem: Why it could not be encoded; None if it is stored.
        """
        with self._lock:
            state: State = "stored" if problem is None else "failed"
            self._write(_event(document_id, state, problem=problem))
            self._forget_done()

    def _write(self, event: _Event) -> None:
        line = event.model_dump_json(exclude_none=True).encode() + b"\n"
        is_new = not self._journal.exists()
        append_lines(self._journal, line)
        sync_path(self._journal)
        if is_new:
            sync_path(self._journal.parent)
        self._note(event)

    def _note(self, event: _Event) -> None:
        time = datetime.fromisoformat(event.time)
        if event.document is not None:
            # The latest last.
            self._known.pop(event.id, None)
            title = event.document.title
            self._known[event.id] = Addition(
                id=event.id, title=title, state="waiting", accepted=time
            )
            self._open[event.id] = event.document
            return
        self._open.pop(event.id, None)
        known = self._known.setdefault(event.id, Addition(id=event.id, state=event.state))
        known.state, known.finished, known.problem = event.state, time, event.problem

    def _forget_done(self) -> None:
        excess = len(self._known) - len(self._open) - _MOST_DONE
        if excess > 0:
            done = [name for name in self._known if name not in self._open]
            for name in done[:excess]:
                del self._known[name]

    def _compact(self) -> None:
        """Write the journal anew, without the texts of documents that are stored."""
        if not self._journal.exists():
            return
        lines = []
        for addition in self._known.values():
            document = self._open.get(addition.id)
            time = addition.accepted if document else addition.finished
            event = _Event(
                time=(time or _now()).isoformat(),
                id=addition.id,
                state=addition.state,
                document=document,
                problem=addition.problem,
            )
            lines.append(event.model_dump_json(exclude_none=True) + "\n")
        write_whole(self._journal, "".join(lines))


def _read(journal: Path) -> Iterable[_Event]:
    if not journal.exists():
        return
    for number, line in enumerate(journal.read_bytes().splitlines(keepends=True), start=1):
        # A process was killed while it wrote the last line; nobody was told that it is there.
        if line.endswith(b"\n"):
            yield parse_line(line, _Event, f"{journal}:{number}")


def _event(
    document_id: str, state: State, document: Document | None = None, problem: str | None = None
) -> _Event:
    return _Event(
        time=_now().isoformat(), id=document_id, state=state, document=document, problem=problem
    )


def _now() -> datetime:
    return datetime.now(timezone.utc).replace(microsecond=0)
