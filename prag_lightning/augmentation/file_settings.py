"""The settings that a file of augmentations was made with, kept beside it, and the run's claim."""

import fcntl
import json
import os
from contextlib import AbstractContextManager
from pathlib import Path

from prag_lightning.augmentation.settings import Settings
from prag_lightning.documents.writing import write_whole

# Files that do not name them were made when there was no choice.
_ADDED_LATER = frozenset(
    {
        "top_p",
        "pairs",
        "grounded",
        "num_summaries",
        "num_facts",
        "answers",
    }
)


def settings_file(output: Path) -> Path:
    """Return the file of the settings that belongs to a file of augmentations."""
    return output.with_name(f"{output.stem}.settings.json")


def claim(output: Path, settings: Settings) -> AbstractContextManager[object]:
    """Return what keeps other runs from writing to a file of augmentations until it is closed.

    The file of its settings is made if there is none.

    Args:
        output: The augmentations.
        settings: What they are to be made with, if they are begun now.

    Raises:
        ValueError: If another run is writing to it, or something else than `prag augment` made it.
    """
    file = settings_file(output)
    if not file.exists():
        if output.exists() and output.stat().st_size:
            raise ValueError(
                f"{output}: was not made by `prag augment`, which therefore does not write to it; "
                "give another --output"
            )
        write_settings(output, settings)
    while True:
        claimed = file.open("rb")
        try:
            fcntl.flock(claimed, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            claimed.close()
            raise ValueError(
                f"{output}: another run is writing to it; wait for its end, or give another "
                "--output"
            ) from None
        # It may have been replaced in between.
        if os.path.samestat(os.fstat(claimed.fileno()), file.stat()):
            return claimed
        claimed.close()


def write_settings(output: Path, settings: Settings) -> None:
    """Write what a file of augmentations is made with beside it.

    Args:
        output: The augmentations.
        settings: What they are made with.
    """
    content = json.dumps(dict(settings), indent=2, ensure_ascii=False)
    write_whole(settings_file(output), content + "\n")


def find_differences(output: Path, settings: Settings) -> str:
    """Return in a few words which settings differ from those of a file, or nothing.

    Args:
        output: The augmentations.
        settings: What they would be made with now.

    Raises:
        ValueError: If the file of its settings is damaged.
    """
    file = settings_file(output)
    try:
        before = json.loads(file.read_text(encoding="utf-8"))
        generator, differing = before.get("generator"), _differing(before, settings)
    except (ValueError, AttributeError) as error:
        raise ValueError(
            f"{file}: is damaged; delete it together with {output.name}, or give another --output"
        ) from error
    if differing and generator != settings.get("generator"):
        return f"by '{generator}', and not by '{settings.get('generator')}'"
    named = [f"{name} was {before.get(name)!r} and is {settings.get(name)!r}" for name in differing]
    return f"with other settings ({'; '.join(named)})" if named else ""


def _differing(before: Settings, settings: Settings) -> list[str]:
    return [
        name
        for name in {**before, **settings}
        if before.get(name) != settings.get(name) and (name in before or name not in _ADDED_LATER)
    ]
