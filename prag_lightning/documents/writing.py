"""Atomic writing: a file has its old content or all of the new, whenever the process dies."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, BinaryIO, Literal, TextIO, overload

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
    """Open a file that appears when the block ends without an error, and is then on the disk.

    Until then, and for good after an error, the path keeps what it had. Two processes that write
    the same path do so one after the other. What a killed one left is overwritten by the next.

    Args:
        path: The file; missing folders are made, and a symbolic link is replaced, not followed.
        mode: ``w`` for text in UTF-8, ``wb`` for bytes.

    Returns:
        A context manager that gives the open file.

    Raises:
        OSError: If the file cannot be written, as on a full disk; names the file.
    """
    return _atomic_file(Path(path), mode)


def write_whole(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Write a file of this content, as `atomic_file` does.

    Args:
        path: The file.
        content: Text, written in UTF-8, or bytes.

    Raises:
        OSError: If the file cannot be written, as on a full disk; names the file.
    """
    with atomic_file(path, "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)


def sync_folder(folder: Path) -> None:
    """Flush a folder's list of names to the disk, so that what was renamed in it stays so."""
    descriptor = os.open(folder, os.O_RDONLY)
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
    sync_folder(path.parent)


@contextmanager
def _named_in_errors(path: Path) -> Iterator[None]:
    """Put the file's name into errors of a full disk, which the system gives without one."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno in _NO_ROOM:
            error.filename = str(path)
        raise


def _claim(temporary: Path) -> int:
    """Open the temporary file empty and for this process alone, once nobody else writes it."""
    while True:
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        # On a disk without locks, who renames last wins.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        # While this process waited, the one before may have renamed or removed the file.
        if _is_at(descriptor, temporary):
            os.ftruncate(descriptor, 0)
            return descriptor
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False
