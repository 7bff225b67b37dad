"""Augments documents with any generator, going on where an earlier run stopped."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from prag_lightning.augmentation.draft import Outcome, Usage
from prag_lightning.augmentation.outcome_files import OutcomeFiles, Settings
from prag_lightning.documents.records import Document


class Generator(Protocol):
    """What makes augmentations."""

    max_attempts: int

    @property
    def settings(self) -> Settings:
        """Everything on which the augmentations depend."""
        ...

    def augment(self, documents: Sequence[Document], deliver: Callable[[Outcome], None]) -> Usage:
        """Call ``deliver`` with the outcome of each document once it is known; return the cost."""
        ...


@dataclass(frozen=True)
class Summary:
    """What there is after a run, and what the run took.

    Args:
        num_documents: How many there are.
        num_augmented: How many of them have an augmentation.
        num_before: How many of these had one before the run.
        num_failed: How many have failed, in this run or before it.
        usage: What was asked of a language model in the run.
        seconds: How long it took.
    """

    num_documents: int
    num_augmented: int
    num_before: int
    num_failed: int
    usage: Usage
    seconds: float

    @property
    def num_missing(self) -> int:
        """Documents that are neither augmented nor failed: a process of the run has died."""
        return self.num_documents - self.num_augmented - self.num_failed

    def __str__(self) -> str:
        """Return it in two lines, in one if no language model was asked."""
        states = {
            "augmented": self.num_augmented,
            "of them before": self.num_before,
            "failed": self.num_failed,
            "not reached": self.num_missing,
        }
        shares = ", ".join(f"{count} {state}" for state, count in states.items() if count)
        lines = [f"{self.num_documents} documents: {shares or 'nothing to do'}"]
        if self.usage.num_requests:
            lines.append(
                f"{self.usage.num_requests} requests, {self.usage.num_prompt_tokens} tokens read, "
                f"{self.usage.num_new_tokens} written, {self.seconds:.1f} s"
            )
        return "\n".join(lines)


def run_augmentation(
    documents: Sequence[Document], generator: Generator, output: Path, rank: int = 0
) -> Summary:
    """Augment those documents that have neither an augmentation in ``output`` nor failed there.

    Args:
        documents: Each with an id of its own.
        generator: What makes the augmentations.
        output: File to which they are appended one by one; the failures go beside it.
        rank: This process's number, where several run at once.

    Raises:
        ValueError: If ``output`` was begun with other settings.
        ConnectionError: If the generator's server is gone; what is done is kept.
    """
    start = time.monotonic()
    with (
        OutcomeFiles(output, generator.settings, generator.max_attempts, rank) as files,
        _progress_bar() as progress,
    ):
        before = files.done_ids()
        ended = before | files.failed_ids()
        todo = [document for document in documents if document.id not in ended]
        task = progress.add_task("", total=len(todo))

        def deliver(outcome: Outcome) -> None:
            files.append(outcome.result)
            progress.advance(task)

        usage = generator.augment(todo, deliver) if todo else Usage()
        done, failed = files.done_ids(), files.failed_ids()
    return Summary(
        num_documents=len(documents),
        num_augmented=sum(document.id in done for document in documents),
        num_before=sum(document.id in before for document in documents),
        num_failed=sum(document.id in failed for document in documents),
        usage=usage,
        seconds=time.monotonic() - start,
    )


def _progress_bar() -> Progress:
    """Return a bar that is drawn on a terminal, and nowhere else."""
    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), "documents", TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal)
