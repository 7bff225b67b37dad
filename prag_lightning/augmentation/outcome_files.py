"""The files of an augmentation run: appended to by whole lines, and what it resumes from."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from prag_lightning.augmentation.file_settings import claim, write_settings
from prag_lightning.augmentation.outcomes import Failure, Outcome
from prag_lightning.augmentation.settings import Settings
from prag_lightning.documents.appending import append_lines, locked
from prag_lightning.documents.records import Augmentation, Record, read_records, write_records


@dataclass(frozen=True)
class State:
    """What the files hold.

    Args:
        with_pairs: Documents that have an augmentation, and whether it has question-answer pairs.
        failures: Why others have none, or not all of it, by document.
    """

    with_pairs: dict[str, bool]
    failures: dict[str, Failure]

    def is_done(self, document_id: str) -> bool:
        """Return whether there is nothing more to do for a document."""
        failure = self.failures.get(document_id)
        return document_id in self.with_pairs or (failure is not None and failure.kept is None)

    def is_usable(self, document_id: str) -> bool:
        """Return whether a document can be trained on: it has pairs, or all that was wanted."""
        has_pairs = self.with_pairs.get(document_id)
        return bool(has_pairs) or (has_pairs is not None and document_id not in self.failures)


class OutcomeFiles:
    """``NAME.jsonl`` with the augmentations, and beside it the failures and the settings.

    A context in which no other run can write to them. A line that a kill tore is cut off. The ranks
    of one run may write at once.

    Args:
        output: Where the augmentations are, or are to be.
        settings: What they are made with.
        rank: This process's number within its run; 0 prepares the files.

    Raises:
        ValueError: If the file was begun by other means, or another run is writing to it.
    """

    def __init__(self, output: Path, settings: Settings, rank: int = 0) -> None:
        self.augmentations = output
        self.failures = failures_file(output)
        self._settings = settings
        self._rank = rank

    def __enter__(self) -> "OutcomeFiles":
        """Begin, or go on."""
        self._lifetime = ExitStack()
        if self._rank == 0:
            self.augmentations.parent.mkdir(parents=True, exist_ok=True)
            self._lifetime.enter_context(claim(self.augmentations, self._settings))
            for file in (self.augmentations, self.failures):
                append_lines(file, b"")
        return self

    def __exit__(self, *error: object) -> None:
        """Let another run write."""
        self._lifetime.close()

    def begin_anew(self) -> None:
        """Forget what is there, and take the settings of this run for the file's."""
        for file in (self.augmentations, self.failures):
            write_records(file, [])
        write_settings(self.augmentations, self._settings)
        # Of the new file of settings: the claim on the one before counts no more.
        self._lifetime.enter_context(claim(self.augmentations, self._settings))

    def read(self) -> State:
        """Return what the files hold now."""
        with locked(self.augmentations):
            made = read_records(self.augmentations, Augmentation)
            with_pairs = {record.document_id: bool(record.qas) for record in made}
        # A later line about a document counts instead of an earlier one.
        failures = {failure.document_id: failure for failure in self._read_failures()}
        for document_id in with_pairs.keys() & failures.keys():
            if failures[document_id].kept is not None:
                # It was completed since.
                del failures[document_id]
        return State(with_pairs, failures)

    def append(self, outcome: Outcome) -> None:
        """Write what became of a document, and hand it to the operating system."""
        if outcome.augmentation is not None:
            append_lines(self.augmentations, _line(outcome.augmentation))
        if outcome.failure is not None:
            append_lines(self.failures, _line(outcome.failure))

    def tidy_failures(self) -> None:
        """Leave one line for each document that has failed."""
        write_records(self.failures, self.read().failures.values())

    def _read_failures(self) -> Iterator[Failure]:
        with locked(self.failures):
            yield from read_records(self.failures, Failure)


def failures_file(output: Path) -> Path:
    """Return the file of the failures that belongs to a file of augmentations."""
    return output.with_name(f"{output.stem}.failed.jsonl")


def _line(record: Record) -> bytes:
    return (json.dumps(record.model_dump(exclude_none=True), ensure_ascii=False) + "\n").encode()
