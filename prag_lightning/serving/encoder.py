"""Encodes added documents in the background, and lets questions find them."""

import logging
import re
import shutil
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

from prag_lightning.adapters.store.opening import open_store
from prag_lightning.answerer import Answerer
from prag_lightning.augmentation.late_documents import LateDocuments, augment_late, fit_words
from prag_lightning.documents.adding import AUGMENTATIONS, add_documents
from prag_lightning.documents.records import Document
from prag_lightning.documents.yaml_text import read_yaml
from prag_lightning.encoding.plan import is_of_other_text
from prag_lightning.serving.additions import Additions
from prag_lightning.serving.errors import one_line
from prag_lightning.serving.fit_process import (
    DONE,
    SOME_FAILED,
    TERMINATED,
    TRY_AGAIN,
    FitProcess,
    FitResult,
)

_LOGGER = logging.getLogger(__name__)
# Documents of one fit: the first few are soon there, and starting costs little for each.
_MOST_TOGETHER = 32
_LONGEST_PAUSE = 60.0
_LOG = "encoding.log"
_DRAFT = "encoding-"
# How a fit says how far it is.
_PERCENT = re.compile(r"^encoding: (\d+)%", re.MULTILINE)


class BackgroundEncoder:
    """Encodes added documents one batch after another, in a thread of its own.

    Args:
        additions: The documents that were added.
        answerer: The answerer that is to find them.
        run_dir: Root folder of the run, whose settings are used.
        folder: Folder for drafts and the log.
    """

    def __init__(
        self, additions: Additions, answerer: Answerer, run_dir: Path, folder: Path
    ) -> None:
        self._additions = additions
        self._answerer = answerer
        self._run_dir = run_dir
        self._folder = folder
        self._fits = FitProcess()
        self._wake = threading.Event()
        self._is_ending = False
        self._failures_in_a_row = 0
        self._thread = threading.Thread(target=self._work, name="encoder")

    def start(self) -> None:
        """Start with the documents that an earlier service left."""
        for draft in self._folder.glob(f"{_DRAFT}*"):
            shutil.rmtree(draft, ignore_errors=True)
        self._thread.start()

    def wake(self) -> None:
        """Look for new documents."""
        self._wake.set()

    @property
    def progress(self) -> float | None:
        """How much of the running fit is done, from 0 to 1; None before its first step."""
        log = self._folder / _LOG
        text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
        done = _PERCENT.findall(text)
        return int(done[-1]) / 100 if done else None

    def end(self) -> None:
        """End the running fit; what it has not finished is encoded after the next start."""
        self._is_ending = True
        self._fits.end()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def _work(self) -> None:
        while not self._is_ending:
            self._wake.clear()
            documents = self._additions.take(_MOST_TOGETHER)
            if not documents:
                self._wake.wait()
                continue
            try:
                self._encode(documents)
            except OSError as error:
                self._try_later(documents, str(error))
            except Exception as error:
                _LOGGER.error("encoding failed", extra={"error": one_line(repr(error))})
                self._fail(documents, f"{type(error).__name__}: {error}")

    def _encode(self, documents: Sequence[Document]) -> None:
        data_folder = self._answerer.data.source.folder
        augmenter = read_yaml(self._run_dir / "fit.yaml")["data"].get("augmenter")
        late = augment_late(documents, data_folder / AUGMENTATIONS, augmenter)
        for failure in late.failures:
            self._finish(failure.document_id, f"it cannot be augmented: {failure.reason}")
        if not late.documents:
            return
        result = self._fit(late)
        if result.status in (DONE, SOME_FAILED):
            self._failures_in_a_row = 0
            self._publish(late, result)
        elif result.status in (TRY_AGAIN, TERMINATED):
            self._try_later(late.documents, result.last_line)
        elif len(late.documents) > 1:
            # One of them may be at fault.
            for document in late.documents:
                self._encode([document])
        else:
            self._fail(late.documents, result.last_line)

    def _fit(self, late: LateDocuments) -> FitResult:
        _LOGGER.info("encoding", extra={"documents": len(late.documents)})
        draft = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=self._folder))
        try:
            late.write(draft)
            words = fit_words(self._run_dir, draft, self._store, len(late.documents))
            return self._fits.run(words, self._folder / _LOG)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    @property
    def _store(self) -> str:
        return self._answerer.store.files.place

    def _publish(self, late: LateDocuments, result: FitResult) -> None:
        """Let questions find the documents that have an adapter now."""
        with open_store(self._store, mode="read") as store:
            digests = store.text_digests([document.id for document in late.documents])
        stored = [
            document
            for document in late.documents
            if document.id in digests and not is_of_other_text(digests[document.id], document)
        ]
        ids = {document.id for document in stored}
        augmentations = [made for made in late.augmentations if made.document_id in ids]
        add_documents(self._answerer.data.source.folder, stored, augmentations)
        self._answerer.data.source.prepare_index()
        self._answerer.refresh()
        for document in late.documents:
            problem = None if document.id in ids else result.reason(document.id)
            self._finish(document.id, problem)

    def _finish(self, document_id: str, problem: str | None) -> None:
        problem = None if problem is None else one_line(problem)
        self._additions.finish(document_id, problem)
        _LOGGER.info("document", extra={"document_id": document_id, "problem": problem})

    def _fail(self, documents: Sequence[Document], problem: str) -> None:
        for document in documents:
            self._finish(document.id, problem)

    def _try_later(self, documents: Sequence[Document], problem: str) -> None:
        self._additions.put_back(documents)
        if self._is_ending:
            return
        pause = min(_LONGEST_PAUSE, 2.0**self._failures_in_a_row)
        self._failures_in_a_row += 1
        _LOGGER.warning("try again", extra={"problem": one_line(problem), "seconds": pause})
        self._wake.wait(pause)
