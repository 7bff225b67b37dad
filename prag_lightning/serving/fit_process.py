"""Runs ``prag fit`` in a process of its own, which ends when this one does."""

import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

DONE, SOME_FAILED, TRY_AGAIN, TERMINATED = 0, 3, 75, 143
# Python starts, and saves finished documents, within this time.
_SECONDS_TO_END = 15.0
_NOT_ENCODED = "not encoded: "


class FitResult(NamedTuple):
    """How a fit ended.

    Args:
        status: Its exit status; negative if a signal killed it.
        output: What it printed.
    """

    status: int
    output: str

    @property
    def last_line(self) -> str:
        """The last line that says something."""
        lines = [line.strip() for line in self.output.splitlines() if line.strip()]
        return lines[-1].removeprefix("prag: ") if lines else f"it ended with {self.status}"

    def reason(self, document_id: str) -> str:
        """Return why a document was not encoded."""
        mark = f"{_NOT_ENCODED}{document_id}: "
        found = [line for line in self.output.splitlines() if mark in line]
        return found[-1].partition(mark)[2] if found else self.last_line


class FitProcess:
    """Starts fits one after another, and can end the one that runs."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()
        self._ended = False

    def run(self, words: Sequence[str], log: Path) -> FitResult:
        """Run ``prag`` with some words, and return how it ended.

        Args:
            words: The command's words.
            log: File for what it prints.
        """
        command = [sys.executable, "-m", "prag_lightning.cli.bound_to_parent", *words]
        with log.open("w", encoding="utf-8") as out:
            with self._lock:
                if self._ended:
                    return FitResult(TERMINATED, "")
                # A Ctrl-C on the terminal is for the service, which then ends the fit.
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    text=True,
                    start_new_session=True,
                )
            with self._process as process:
                status = process.wait()
        return FitResult(status, log.read_text(encoding="utf-8", errors="replace"))

    def end(self) -> None:
        """End the running fit, which saves the documents that it has finished, and start none."""
        with self._lock:
            self._ended = True
            process = self._process
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            process.kill()
