"""The files of an augmentation run: appended to by whole lines, and what it resumes from."""

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

from prag_lightning.augmentation.draft import Failure
from prag_lightning.documents.appending import append_lines, locked
from prag_lightning.documents.records import Augmentation, read_records, write_records

# What made the augmentations: a run with other settings does not go on in the same file.
Settings = Mapping[str, str | int | float]


class OutcomeFiles:
    """``NAME.jsonl`` with the augmentations, and beside it the failures and the settings.

    A context in which no other run can write to them. A line that a kill tore is cut off.
    Documents that have failed stay so, unless more attempts are allowed than they had. The ranks of
    one run may write at once.

    Args:
        output: Where the augmentations are, or are to be.
        settings: What they are made with.
        max_attempts: Failures after fewer attempts are forgotten.
        rank: This process's number within its run; 0 prepares the files.

    Raises:
        ValueError: If the file was begun with other settings or by other means, or another run is
            writing to it.
    """

    def __init__(self, output: Path, settings: Settings, max_attempts: int, rank: int = 0) -> None:
        self.augmentations = output
        self.failures = failures_file(output)
        self._settings_file = output.with_name(f"{output.stem}.settings.json")
        self._settings = settings
        self._max_attempts = max_attempts
        self._rank = rank

    def __enter__(self) -> "OutcomeFiles":
        """Begin, or go on."""
        self._lifetime = ExitStack()
        if self._rank == 0:
            self.augmentations.parent.mkdir(parents=True, exist_ok=True)
            self._check_settings()
            self._claim()
            for file in (self.augmentations, self.failures):
                append_lines(file, b"")
            kept = [f for f in self._read_failures() if f.num_attempts >= self._max_attempts]
            write_records(self.failures, kept)
        return self

    def __exit__(self, *error: object) -> None:
        """Let another run write."""
        self._lifetime.close()

    def done_ids(self) -> set[str]:
        """Return the documents that have an augmentation."""
        with locked(self.augmentations):
            records = read_records(self.augmentations, Augmentation)
            return {record.document_id for record in records}

    def failed_ids(self) -> set[str]:
        """Return the documents that have failed."""
        with locked(self.failures):
            return {failure.document_id for failure in self._read_failures()}

    def append(self, result: Augmentation | Failure) -> None:
        """Write one line, and hand it to the operating system before returning."""
        file = self.failures if isinstance(result, Failure) else self.augmentations
        line = json.dumps(result.model_dump(), ensure_ascii=False) + "\n"
        append_lines(file, line.encode())

    def _read_failures(self) -> Iterator[Failure]:
        return read_records(self.failures, Failure)

    def _check_settings(self) -> None:
        if not self._settings_file.exists():
            if self.augmentations.exists():
                raise ValueError(
                    f"{self.augmentations}: was not made by `prag augment`, which therefore does "
                    "not write to it; give another --output"
                )
            content = json.dumps(dict(self._settings), indent=2, ensure_ascii=False) + "\n"
            temporary = self._settings_file.with_suffix(".tmp")
            temporary.write_text(content, encoding="utf-8")
            temporary.replace(self._settings_file)
        before = json.loads(self._settings_file.read_text(encoding="utf-8"))
        differing = [
            f"{name} was {before.get(name)!r} and is {self._settings.get(name)!r}"
            for name in {**before, **self._settings}
            if before.get(name) != self._settings.get(name)
        ]
        if differing:
            raise ValueError(
                f"{self.augmentations}: was begun with other settings ({'; '.join(differing)}); "
                "go on with those, or give another --output"
            )

    def _claim(self) -> None:
        claim = self._lifetime.enter_context(self._settings_file.open("rb"))
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            claim.close()
            raise ValueError(
                f"{self.augmentations}: another run is writing to it; wait for its end, or give "
                "another --output"
            ) from None


def failures_file(output: Path) -> Path:
    """Return the file of the failures that belongs to a file of augmentations."""
    return output.with_name(f"{output.stem}.failed.jsonl")
