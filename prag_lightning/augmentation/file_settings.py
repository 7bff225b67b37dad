"""The settings file and the lock of a file of augmentations."""

import fcntl
import json
import os
from contextlib import AbstractContextManager
from pathlib import Path

from prag_lightning.augmentation.settings import Settings
from prag_lightning.documents.writing import write_whole

# Settings that older files lack, because they were not configurable then.
_ADDED_LATER = frozenset(
    {
        "top_p",
        "pairs",
        "grounded",
        "num_summaries",
        "num_facts",
        "answers",
        "num_implications",
        "num_unanswerable",
    }
)


def settings_file(output: Path) -> Path:
    """Return the path of the settings file for a file of augmentations."""
    return output.with_name(f"{output.stem}.settings.json")


def claim(output: Path, settings: Settings) -> AbstractContextManager[object]:
    """Return a lock on a file of augmentations against other runs, held until it is closed.

    The settings file is created if there is none.

    Args:
        output: The file of augmentations.
        settings: Settings for a new file.

    Raises:
        ValueError: If another run is writing to it, or `prag augment` did not create it.
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
        # The file may have been replaced before it was locked.
        if os.path.samestat(os.fstat(claimed.fileno()), file.stat()):
            return claimed
        claimed.close()


def write_settings(output: Path, settings: Settings) -> None:
    """Write the settings file of a file of augmentations.

    Args:
        output: The file of augmentations.
        settings: Its settings.
    """
    content = json.dumps(dict(settings), indent=2, ensure_ascii=False)
    write_whole(settings_file(output), content + "\n")


def find_differences(output: Path, settings: Settings) -> str:
    """Return a summary of the settings that differ from those of a file; empty if none do.

    Args:
        output: The file of augmentations.
        settings: The current settings.

    Raises:
        ValueError: If the settings file is damaged.
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
