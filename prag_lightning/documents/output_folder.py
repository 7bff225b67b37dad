"""A folder of output files that replace those of an earlier run all at once."""

import fcntl
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Annotated

from pydantic import BaseModel, Field, ValidationError

from prag_lightning.documents.writing import sync_path, write_whole

# Records what the files of a folder were made from, and their names.
_ORIGIN = "origin.json"
# Files that other commands derive from the documents of a folder.
_DERIVED = ("augmentations.jsonl", "index")


class OutputFolder:
    """Output files that appear together and replace those of an earlier run.

    This is a context manager. When the block ends without an error, the files written at `path_of`
    are moved into the folder, and other files of the earlier run are removed. Files that no such
    run wrote are never replaced or removed.

    Args:
        folder: The output folder; created if missing.
        origin: What the files are made from, recorded in ``origin.json`` next to them.

    Raises:
        ValueError: If another run is writing to the folder, or its ``origin.json`` is not ours.
    """

    def __init__(self, folder: Path, origin: Mapping[str, object]) -> None:
        self.notes: list[str] = []
        self._folder = folder
        self._staging = folder / ".new"
        self._origin = origin
        self._former = _former_files(folder / _ORIGIN)
        self._lifetime = ExitStack()

    def __enter__(self) -> "OutputFolder":
        """Create an empty staging folder, removing what a killed run left."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._staging.mkdir(exist_ok=True)
        claim = os.open(self._staging, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        self._lifetime.callback(os.close, claim)
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lifetime.close()
            raise ValueError(
                f"{self._folder}: another command is writing into it; wait for its end, or give "
                "another folder"
            ) from None
        except OSError:
            # The file system has no locks.
            pass
        for left in self._staging.iterdir():
            left.unlink()
        return self

    def path_of(self, name: str) -> Path:
        """Return the temporary path of an output file.

        Raises:
            ValueError: If the folder has a file of this name that no such command wrote.
        """
        if (self._folder / name).exists() and name not in self._former:
            raise ValueError(
                f"{self._folder / name}: is there already, and not from this command; move it "
                "away, or give another folder"
            )
        return self._staging / name

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Move the files into the folder, or discard them after an error."""
        with self._lifetime:
            try:
                if kind is None:
                    self._publish()
            finally:
                shutil.rmtree(self._staging, ignore_errors=True)
                # Do not leave an empty folder after a failed run.
                with suppress(OSError):
                    self._folder.rmdir()

    def _publish(self) -> None:
        new = sorted(path.name for path in self._staging.iterdir())
        # List both old and new files first, so that after a crash the next run knows its own files.
        self._write_origin(sorted({*self._former, *new}))
        for name in new:
            (self._staging / name).replace(self._folder / name)
        gone = [name for name in self._former if name not in new and (self._folder / name).exists()]
        for name in gone:
            (self._folder / name).unlink()
        sync_path(self._folder)
        self._write_origin(new)
        if self._former:
            self._note_former(gone)

    def _write_origin(self, files: list[str]) -> None:
        content = json.dumps({**self._origin, "files": files}, indent=2)
        write_whole(self._folder / _ORIGIN, content + "\n")

    def _note_former(self, gone: list[str]) -> None:
        self.notes.append("the files of an earlier run are replaced")
        if gone:
            self.notes.append(f"removed, for this run has none: {', '.join(gone)}")
        derived = [name for name in _DERIVED if (self._folder / name).exists()]
        if kept := [name for name in derived if name not in self._former]:
            self.notes.append(f"kept, though made from the earlier documents: {', '.join(kept)}")


class _Origin(BaseModel):
    # The file may be untrusted, so only plain file names are accepted.
    files: list[Annotated[str, Field(pattern=r"^[^/]*[^/.][^/]*$")]]


def _former_files(origin: Path) -> list[str]:
    """Return the files that an earlier run wrote."""
    if not origin.exists():
        return []
    try:
        return _Origin.model_validate_json(origin.read_bytes()).files
    except ValidationError:
        raise ValueError(
            f"{origin}: does not say which files a command wrote; give another folder"
        ) from None
