"""Durable writes to open files, with clear errors when the disk is full."""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class StoreFullError(OSError):
    """There is no room for an adapter; everything stored before is intact.

    Its ``errno`` is always ``ENOSPC``.
    """

    def __str__(self) -> str:
        """Return the file and what to do, without the error number."""
        return f"{self.filename}: {self.strerror}"


class StoreLostError(OSError):
    """The store was deleted or replaced while this process was writing into it."""

    def __init__(self, folder: Path | str) -> None:
        super().__init__(
            f"{folder}: this store was deleted, moved or unlocked while this run was writing into "
            "it, so what was stored since is lost; start the same command again"
        )


@contextmanager
def needs_room(path: Path, num_bytes: int) -> Iterator[None]:
    """Turn "no space left" into an error that says what to do.

    Args:
        path: The file that is written in the block.
        num_bytes: Number of bytes to be written.

    Raises:
        StoreFullError: If the disk is full, a quota is used up, or the file size limit is reached.
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
    """Return the free space in bytes on the disk of ``folder``."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def open_plain(path: Path, flags: int) -> int:
    """Open a file of a store for writing, without following a symbolic link.

    Args:
        path: The file.
        flags: As for ``os.open``, without ``O_NOFOLLOW``.

    Raises:
        ValueError: If it is a symbolic link.
    """
    try:
        # Non-blocking, so that opening a pipe cannot hang; regular files ignore the flag.
        return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise ValueError(
            f"{path}: is a symbolic link, through which no store is written; delete it"
        ) from error


def write_synced(path: Path, content: bytes) -> None:
    """Write a file that need not be replaced atomically, and flush it to disk.

    Args:
        path: The file; one left by a killed process is overwritten.
        content: Its new contents.
    """
    descriptor = open_plain(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def write_at(descriptor: int, content: memoryview, offset: int) -> None:
    """Write all of ``content`` at an offset in an open file, without flushing it to disk.

    Args:
        descriptor: The file, open for writing.
        content: The bytes to write.
        offset: Offset of the first byte.
    """
    while content:
        written = os.pwrite(descriptor, content, offset)
        content, offset = content[written:], offset + written


def overwrite_start(path: Path, content: bytes, length: int) -> None:
    """Overwrite the first bytes of a file, truncate it, and flush it to disk.

    Args:
        path: The file; created if it does not exist.
        content: Its new first bytes.
        length: Length to which the file is truncated or extended.
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
    """Flush a file to disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def digest_file(path: Path) -> str:
    """Return the SHA-256 of a file as a hexadecimal string."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
