"""Runs the planned runs of a sweep, one after another."""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from prag_lightning.cli.exit_status import DONE, SOME_FAILED
from prag_lightning.cli.sweep.plan import PlannedRun
from prag_lightning.cli.sweep.shared_answers import add_answers, answer_digests, find_answers
from prag_lightning.evaluation.results import SCORES_FILE, read_scores
from prag_lightning.evaluation.run_result import (
    DONE_STATUS,
    RESULT_FILE,
    RunResult,
    read_result,
    write_result,
)

# Runs a command, appends its output to a file, and returns its exit status.
RunCommand = Callable[[Sequence[str], Path], int]
_LONGEST_REASON = 200


def run_process(words: Sequence[str], log_file: Path) -> int:
    """Run ``prag`` in its own process, which ends with this one, and return its exit status.

    A separate process starts with clean memory, may be killed for using too much of it, and can
    launch the processes of several GPUs from its own command line.

    Args:
        words: The command line.
        log_file: File that its output is appended to.
    """
    with log_file.open("ab") as log:
        command = [sys.executable, "-m", "prag_lightning", *words]
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            return process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise


class SweepRunner:
    """Runs what is not done yet; adapters shared by several runs are encoded once.

    Args:
        run_command: Runs ``prag fit`` and ``prag test``.
    """

    def __init__(self, run_command: RunCommand = run_process) -> None:
        self.run_command = run_command
        # The outcome of encoding into each store.
        self._encoded: dict[Path, str] = {}

    def run(self, run: PlannedRun) -> RunResult:
        """Return the result of a run, from an earlier sweep if it had the same settings."""
        result = read_result(run.folder)
        if result is None or (result.digest, result.status) != (run.digest, DONE_STATUS):
            run.folder.mkdir(parents=True, exist_ok=True)
            # Other runs reuse a run's answers only if it has a result.
            (run.folder / RESULT_FILE).unlink(missing_ok=True)
            result = self._run(run, run.folder / "log.txt")
            write_result(run.folder, result)
        return result

    def _run(self, run: PlannedRun, log_file: Path) -> RunResult:
        result = RunResult(digest=run.digest, swept=run.swept, status=DONE_STATUS)
        if run.store not in self._encoded:
            start = time.monotonic()
            status = self.run_command(["fit", *run.words], log_file)
            result.fit_seconds = time.monotonic() - start
            self._encoded[run.store] = _say(status, "fit", log_file)
        result.status = self._encoded[run.store]
        if result.status.startswith("fit failed"):
            return result
        start = time.monotonic()
        self._test(run, result, log_file)
        result.test_seconds = time.monotonic() - start
        return result

    def _test(self, run: PlannedRun, result: RunResult, log_file: Path) -> None:
        """Run the methods that no other run has answered, and copy the answers of the others."""
        digests = answer_digests(run.settings)
        shared = find_answers(run.folder.parent, digests, run.methods)
        # A run that asks nothing would write no settings.
        takes = bool(shared.known and shared.left)
        words = [f"--data.methods=[{','.join(shared.left)}]"] if takes else []
        status = self.run_command(["test", *run.words, *words], log_file)
        if status != DONE:
            result.status = _say(status, "test", log_file)
            return
        if takes:
            add_answers(run.folder, shared, run.settings["data"]["methods"])
            with log_file.open("a", encoding="utf-8") as log:
                for method, folder in shared.known.items():
                    print(f"{method}: the answers are those of {folder.name}", file=log)
        result.scores = read_scores(run.folder / SCORES_FILE).scores
        result.asked_all = run.methods is None
        asked = {score.method for score in result.scores}
        result.answered = {name: digest for name, digest in digests.items() if name in asked}


def _say(status: int, command: str, log_file: Path) -> str:
    """Return the outcome of a run, from the exit status of one of its commands."""
    if status == DONE:
        return DONE_STATUS
    if (command, status) == ("fit", SOME_FAILED):
        return f"some documents were not encoded, see {log_file}"
    text = log_file.read_text(encoding="utf-8", errors="replace").strip()
    reason = text.splitlines()[-1].strip() if text else "without a word"
    return f"{command} failed with status {status}: {reason[:_LONGEST_REASON]}"
