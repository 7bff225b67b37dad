"""Atomic file writing: a killed process leaves either the old content or all of the new."""

import errno
import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, BinaryIO, Literal, TextIO, overload

# What file systems without hard links answer.
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS)
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@overload
def atomic_file(
    path: str | os.PathLike[str], mode: Literal["w"] = "w"
) -> AbstractContextManager[TextIO]: ...
@overload
def atomic_file(
    path: str | os.PathLike[str], mode: Literal["wb"]
) -> AbstractContextManager[BinaryIO]: ...
def atomic_file(
    path: str | os.PathLike[str], mode: Literal["w", "wb"] = "w"
) -> AbstractContextManager[Any]:
    """Open a file that is flushed to disk and appears when the block ends without an error.

    Until then, or if there is an error, the old file stays in place. Processes that write the same
    path take turns. A temporary file that a killed process left is overwritten.

    Args:
        path: The file; missing folders are created, and a symbolic link is replaced, not followed.
        mode: ``w`` for UTF-8 text, ``wb`` for bytes.

    Returns:
        A context manager that gives the open file.

    Raises:
        OSError: If the file cannot be written, as on a full disk; the message names the file.
    """
    return _atomic_file(Path(path), mode)


def write_whole(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Write a file atomically, as `atomic_file` does.

    Args:
        path: The file.
        content: Text, written as UTF-8, or bytes.

    Raises:
        OSError: If the file cannot be written, as on a full disk; the message names the file.
    """
    with atomic_file(path, "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)


def write_once(path: Path, content: bytes) -> None:
    """Write a file atomically, unless it exists: of several processes, the first one writes it.

    Args:
        path: The file, in a folder that exists.
        content: Its contents.

    Raises:
        OSError: If the file cannot be written, as on a full disk; the message names the file.
    """
    # Under a name of its own: after a death between the next two steps, it is the file itself.
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with _named_in_errors(path), draft.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    sync_path(path.parent)


def sync_path(path: Path) -> None:
    """Flush a file to disk, or a folder's entries, which makes renames in it durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _atomic_file(path: Path, mode: str) -> Iterator[IO[Any]]:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    encoding = None if "b" in mode else "utf-8"
    with _named_in_errors(path), open(_claim(temporary), mode, encoding=encoding) as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    sync_path(path.parent)


@contextmanager
def _named_in_errors(path: Path) -> Iterator[None]:
    """Add the file name to disk-full errors, which the operating system raises without one."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno in _NO_ROOM:
            error.filename = str(path)
        raise


def _claim(temporary: Path) -> int:
    """Open and empty the temporary file, after waiting for other processes that write it."""
    while True:
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        # On file systems without locks, the last rename wins.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        # The process that held the lock may have renamed or removed the file.
        if is_at(descriptor, temporary):
            os.ftruncate(descriptor, 0)
            return descriptor
        os.close(descriptor)


def is_at(descriptor: int, path: Path) -> bool:
    """Return whether an open file is still the one at a path.

    Args:
        descriptor: The file.
        path: The path.
    """
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Yield a folder to write files into, which becomes ``folder`` when all are on the disk.

    If the block fails, nothing is left of it.
    """
    draft = folder.with_name(f".{folder.name}.tmp")
    # Left by a process that was killed.
    shutil.rmtree(draft, ignore_errors=True)
    try:
        yield draft
        for file in draft.iterdir():
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
        draft.replace(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
