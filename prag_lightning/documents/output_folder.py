"""A folder that a command fills with files: all of them or none, in place of its former ones."""

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

from prag_lightning.documents.writing import sync_folder, write_whole

# What the files of a folder were made from, and which those are.
_ORIGIN = "origin.json"
# What other commands make from the documents of a folder.
_DERIVED = ("augmentations.jsonl", "index")


class OutputFolder:
    """Files that appear together, in place of those of an earlier run.

    A context manager: when the block ends without an error, the files that were written at
    `path_of` move into the folder, and what the earlier run wrote besides is removed. Files that no
    such run wrote are never replaced, and never removed.

    Args:
        folder: Where to; made where missing.
        origin: What the files are made from, written into ``origin.json`` beside them.

    Raises:
        ValueError: If another run is writing into the folder, or its ``origin.json`` is not ours.
    """

    def __init__(self, folder: Path, origin: Mapping[str, object]) -> None:
        self.notes: list[str] = []
        self._folder = folder
        self._staging = folder / ".new"
        self._origin = origin
        self._former = _former_files(folder / _ORIGIN)
        self._lifetime = ExitStack()

    def __enter__(self) -> "OutputFolder":
        """Begin, with nothing that a killed run left."""
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
            # A disk without locks.
            pass
        for left in self._staging.iterdir():
            left.unlink()
        return self

    def path_of(self, name: str) -> Path:
        """Return where a file is written until all are.

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
        """Move the files into the folder, or forget them."""
        with self._lifetime:
            try:
                if kind is None:
                    self._publish()
            finally:
                shutil.rmtree(self._staging, ignore_errors=True)
                # A failed run leaves no empty folder.
                with suppress(OSError):
                    self._folder.rmdir()

    def _publish(self) -> None:
        new = sorted(path.name for path in self._staging.iterdir())
        # First all of them: whenever this ends, the next run knows which files are its own.
        self._write_origin(sorted({*self._former, *new}))
        for name in new:
            (self._staging / name).replace(self._folder / name)
        gone = [name for name in self._former if name not in new and (self._folder / name).exists()]
        for name in gone:
            (self._folder / name).unlink()
        sync_folder(self._folder)
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
    # Whoever wrote them, they are names within the folder.
    files: list[Annotated[str, Field(pattern=r"^[^/]*[^/.][^/]*$")]]


def _former_files(origin: Path) -> list[str]:
    """Return the files that an earlier run of a command wrote."""
    if not origin.exists():
        return []
    try:
        return _Origin.model_validate_json(origin.read_bytes()).files
    except ValidationError:
        raise ValueError(
            f"{origin}: does not say which files a command wrote; give another folder"
        ) from None
