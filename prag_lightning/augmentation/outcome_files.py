"""The files of an augmentation run, which are appended to and from which a run resumes."""

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
    """Contents of the files.

    Args:
        with_pairs: Documents that have an augmentation, and whether it has question-answer pairs.
        failures: Why other documents have none, or an incomplete one, by document.
    """

    with_pairs: dict[str, bool]
    failures: dict[str, Failure]

    def is_done(self, document_id: str) -> bool:
        """Return whether a document needs no more work."""
        failure = self.failures.get(document_id)
        return document_id in self.with_pairs or (failure is not None and failure.kept is None)

    def is_usable(self, document_id: str) -> bool:
        """Return whether a document can be trained on: it has pairs, or everything requested."""
        has_pairs = self.with_pairs.get(document_id)
        return bool(has_pairs) or (has_pairs is not None and document_id not in self.failures)


class OutcomeFiles:
    """``NAME.jsonl`` with the augmentations, and the files of failures and settings next to it.

    What was dropped because documents do not say it is in ``NAME.dropped.jsonl``, if there is any.

    A context manager that locks the files against other runs. A partial line that a killed process
    left is removed. Several ranks of one run may write at once.

    Args:
        output: The file of augmentations.
        settings: Settings of the augmentations.
        rank: Rank of this process within its run; rank 0 prepares the files.

    Raises:
        ValueError: If other means created the file, or another run is writing to it.
    """

    def __init__(self, output: Path, settings: Settings, rank: int = 0) -> None:
        self.augmentations = output
        self.failures = failures_file(output)
        self.dropped = dropped_file(output)
        self._settings = settings
        self._rank = rank

    def __enter__(self) -> "OutcomeFiles":
        """Open the files for a new or a resumed run."""
        self._lifetime = ExitStack()
        if self._rank == 0:
            self.augmentations.parent.mkdir(parents=True, exist_ok=True)
            self._lifetime.enter_context(claim(self.augmentations, self._settings))
            for file in (self.augmentations, self.failures):
                append_lines(file, b"")
        return self

    def __exit__(self, *error: object) -> None:
        """Release the lock."""
        self._lifetime.close()

    def begin_anew(self) -> None:
        """Discard the contents of the files, and use the settings of this run."""
        for file in (self.augmentations, self.failures):
            write_records(file, [])
        self.dropped.unlink(missing_ok=True)
        write_settings(self.augmentations, self._settings)
        # Lock the new settings file; the lock on the replaced one is no longer effective.
        self._lifetime.enter_context(claim(self.augmentations, self._settings))

    def read(self) -> State:
        """Return the current contents of the files."""
        with locked(self.augmentations):
            made = read_records(self.augmentations, Augmentation)
            with_pairs = {record.document_id: bool(record.qas) for record in made}
        # The last line about a document counts.
        failures = {failure.document_id: failure for failure in self._read_failures()}
        for document_id in with_pairs.keys() & failures.keys():
            if failures[document_id].kept is not None:
                # The document was completed later.
                del failures[document_id]
        return State(with_pairs, failures)

    def append(self, outcome: Outcome) -> None:
        """Append the outcome of a document, and pass it to the operating system."""
        if outcome.augmentation is not None:
            append_lines(self.augmentations, _line(outcome.augmentation))
        if outcome.failure is not None:
            append_lines(self.failures, _line(outcome.failure))
        if outcome.dropped:
            append_lines(self.dropped, b"".join(map(_line, outcome.dropped)))

    def tidy_failures(self) -> None:
        """Reduce the failures to one line per failed document."""
        write_records(self.failures, self.read().failures.values())

    def _read_failures(self) -> Iterator[Failure]:
        with locked(self.failures):
            yield from read_records(self.failures, Failure)


def failures_file(output: Path) -> Path:
    """Return the path of the failures file for a file of augmentations."""
    return output.with_name(f"{output.stem}.failed.jsonl")


def dropped_file(output: Path) -> Path:
    """Return the path of the file of dropped parts for a file of augmentations."""
    return output.with_name(f"{output.stem}.dropped.jsonl")


def _line(record: Record) -> bytes:
    return (json.dumps(record.model_dump(exclude_none=True), ensure_ascii=False) + "\n").encode()
