"""Writing into open files so that it holds, and is clear when the disk is full."""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class StoreFullError(OSError):
    """There is no room for an adapter: what was stored before is whole, and stays.

    Its ``errno`` is always ``ENOSPC``.
    """

    def __str__(self) -> str:
        """Return the file and what to do, without the system's number."""
        return f"{self.filename}: {self.strerror}"


class StoreLostError(OSError):
    """The store was deleted or replaced while this process was writing into it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"{folder}: this store was deleted, moved or unlocked while this run was writing into "
            "it, so what was stored since is lost; start the same command again"
        )


@contextmanager
def needs_room(path: Path, num_bytes: int) -> Iterator[None]:
    """Turn "no space left" into an error that says what to do.

    Args:
        path: The file that is written in the block.
        num_bytes: How much it is given.

    Raises:
        StoreFullError: If the disk is full, a quota is used up, or a file may not grow further.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM or isinstance(error, StoreFullError):
            raise
        raise StoreFullError(
            errno.ENOSPC,
            f"no room: {num_bytes:,} bytes are needed and {free_bytes(path.parent):,} are free "
            f"({os.strerror(error.errno)}); everything stored so far is kept, so make room and "
            "start the same command again",
            str(path),
        ) from error


def free_bytes(folder: Path) -> int:
    """Return the bytes that may still be written on the disk of ``folder``."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def open_plain(path: Path, flags: int) -> int:
    """Open a file of a store for writing; never through a symbolic link.

    Args:
        path: The file.
        flags: As for ``os.open``, without ``O_NOFOLLOW``.

    Raises:
        ValueError: If it is a symbolic link.
    """
    try:
        # Without waiting, as a pipe would have it; a plain file knows no waiting.
        return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise ValueError(
            f"{path}: is a symbolic link, through which no store is written; delete it"
        ) from error


def write_synced(path: Path, content: bytes) -> None:
    """Write a new file, or one that may be lost, and flush it to the disk.

    Args:
        path: The file; one that a killed process left there is overwritten.
        content: What it holds afterwards.
    """
    descriptor = open_plain(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def write_at(descriptor: int, content: memoryview, offset: int) -> None:
    """Write all of ``content`` at a place in an open file, without flushing it to the disk.

    Args:
        descriptor: The file, open for writing.
        content: What to write.
        offset: The place of its first byte.
    """
    while content:
        written = os.pwrite(descriptor, content, offset)
        content, offset = content[written:], offset + written


def overwrite_start(path: Path, content: bytes, length: int) -> None:
    """Put ``content`` in the place of a file's first bytes, and flush it to the disk.

    Args:
        path: The file, made if it is not there.
        content: Its first bytes.
        length: Where the file ends; what lies behind is cut off.
    """
    descriptor = open_plain(path, os.O_RDWR | os.O_CREAT)
    try:
        with needs_room(path, len(content)):
            write_at(descriptor, memoryview(content), 0)
            os.ftruncate(descriptor, length)
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Flush a file to the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def digest_file(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
