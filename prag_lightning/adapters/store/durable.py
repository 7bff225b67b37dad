"""Writing that holds: whole files, on the disk when a call returns, and clear when it is full."""

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


@contextmanager
def needs_room(path: Path, num_bytes: int) -> Iterator[None]:
    """Turn "no space left" while ``path`` is written into an error that says what to do.

    Raises:
        StoreFullError: If the disk is full, a quota is used up, or a file may not grow further.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
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


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that has either its old content or all of the new, whenever the process dies.

    Raises:
        StoreFullError: If there is no room for it.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    with needs_room(path, len(content)):
        write_synced(temporary, content)
    temporary.replace(path)
    sync_folder(path.parent)


def write_synced(path: Path, content: bytes) -> None:
    """Write a file and flush it to the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


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


def write_at(descriptor: int, content: memoryview, offset: int) -> None:
    """Write all of ``content`` at a place in an open file, without flushing it to the disk."""
    while content:
        written = os.pwrite(descriptor, content, offset)
        content, offset = content[written:], offset + written


def overwrite_start(path: Path, content: bytes) -> None:
    """Put ``content`` in the place of a file's first bytes, and flush it to the disk."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        with needs_room(path, len(content)):
            write_at(descriptor, memoryview(content), 0)
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Flush a folder's list of names to the disk, so that what was renamed in it stays so."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
