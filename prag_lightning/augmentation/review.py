"""What of earlier work still counts: texts change, settings do, and more attempts are allowed."""

import sys
from collections.abc import Iterator, Mapping, Set
from pathlib import Path

from prag_lightning.augmentation.file_settings import find_differences
from prag_lightning.augmentation.outcome_files import OutcomeFiles
from prag_lightning.augmentation.settings import Settings
from prag_lightning.documents.records import Augmentation, read_records, write_records


def require_settings(files: OutcomeFiles, settings: Settings) -> None:
    """Make sure that a run may go on in files, or begin anew in them.

    What was begun with other settings is begun anew if no document was finished, and that is said.

    Args:
        files: Those of the run, open.
        settings: What augmentations are made with now.

    Raises:
        ValueError: If some documents were finished with other settings; names what differs.
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
    """Take out of the files what is to be made anew, or completed.

    These are augmentations and failures of texts that have changed since, and failures after fewer
    attempts than are allowed now: what is good of those is kept for the next attempt.

    Args:
        files: Those of the run, open.
        digests: Of the texts as they are now, by document.
        max_attempts: How many attempts are allowed.

    Returns:
        The documents whose augmentation belonged to a text that has changed.
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
    """Return whose text has changed, what is good of those to try again, and how many say neither.

    The last are augmentations without a digest.
    """
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
    """Write a file of augmentations without some documents', each with its text's digest."""

    def remaining() -> Iterator[Augmentation]:
        for record in read_records(file, Augmentation):
            if record.document_id not in taken_out:
                digest = record.text_digest or digests.get(record.document_id)
                yield record.model_copy(update={"text_digest": digest})

    write_records(file, remaining())


def _say(line: str) -> None:
    print(line, file=sys.stderr)
