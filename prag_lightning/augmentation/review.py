"""Checking which earlier results are still valid after texts or settings have changed."""

import sys
from collections.abc import Iterator, Mapping, Set
from pathlib import Path

from prag_lightning.augmentation.file_settings import find_differences
from prag_lightning.augmentation.outcome_files import OutcomeFiles
from prag_lightning.augmentation.settings import Settings
from prag_lightning.documents.records import Augmentation, read_records, write_records


def require_settings(files: OutcomeFiles, settings: Settings) -> None:
    """Check that a run may continue in existing files, or reset them.

    If the settings differ and no document was finished, the files are reset, with a message.

    Args:
        files: Files of the run, open.
        settings: The current settings.

    Raises:
        ValueError: If documents were finished with other settings; the message says which.
    """
    differences = find_differences(files.augmentations, settings)
    if not differences:
        return
    state = files.read()
    if any(map(state.is_usable, state.with_pairs)):
        raise ValueError(
            f"{files.augmentations}: holds augmentations that were made {differences}; go on as "
            "before, give another --output, or delete the file"
        )
    files.begin_anew()
    if state.failures:
        _say(
            f"{files.augmentations}: was begun {differences}, and finished nothing "
            f"({len(state.failures)} failed); it is begun anew"
        )


def take_out_outdated(
    files: OutcomeFiles, digests: Mapping[str, str], max_attempts: int
) -> set[str]:
    """Remove results that must be made again or completed.

    These are augmentations and failures of texts that have changed, and failures after fewer than
    the allowed attempts. The good parts of the latter are kept for the next attempt.

    Args:
        files: Files of the run, open.
        digests: Digests of the current texts, by document.
        max_attempts: Maximum number of attempts.

    Returns:
        The documents with an augmentation of a text that has changed.
    """
    state = files.read()
    failures = {
        name: failure
        for name, failure in state.failures.items()
        if failure.text_digest in (None, digests.get(name, failure.text_digest))
    }
    retried = {
        name
        for name, failure in failures.items()
        if name in digests and failure.kept is None and failure.num_attempts < max_attempts
    }
    changed, kept, num_undated = _inspect(files.augmentations, digests, retried)
    for name in retried:
        failure = failures.pop(name)
        if name in kept:
            failures[name] = failure.model_copy(update={"kept": kept[name]})
    if failures != state.failures:
        write_records(files.failures, failures.values())
    if changed or kept or num_undated:
        _rewrite(files.augmentations, changed | kept.keys(), digests)
    if num_undated:
        _say(
            f"{files.augmentations}: augmentations that do not say from which text they were made: "
            f"{num_undated}; they are taken as made from the texts as they are now"
        )
    return changed


def _inspect(
    file: Path, digests: Mapping[str, str], retried: Set[str]
) -> tuple[set[str], dict[str, Augmentation], int]:
    """Return changed documents, partial augmentations to retry, and how many have no digest."""
    changed: set[str] = set()
    kept: dict[str, Augmentation] = {}
    num_undated = 0
    for record in read_records(file, Augmentation):
        name, digest = record.document_id, digests.get(record.document_id)
        num_undated += digest is not None and record.text_digest is None
        if digest is not None and record.text_digest not in (None, digest):
            changed.add(name)
        elif name in retried:
            kept[name] = record
    return changed, kept, num_undated


def _rewrite(file: Path, taken_out: Set[str], digests: Mapping[str, str]) -> None:
    """Rewrite a file of augmentations without some documents, and with digests for the others."""

    def remaining() -> Iterator[Augmentation]:
        for record in read_records(file, Augmentation):
            if record.document_id not in taken_out:
                digest = record.text_digest or digests.get(record.document_id)
                yield record.model_copy(update={"text_digest": digest})

    write_records(file, remaining())


def _say(line: str) -> None:
    print(line, file=sys.stderr)
