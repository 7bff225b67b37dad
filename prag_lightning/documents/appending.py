"""Appending whole lines to a file, safe against concurrent writers and killed processes."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def append_lines(file: Path, lines: bytes) -> None:
    """Append whole lines to a file, after removing a partial line that a killed process left.

    Args:
        file: The file; created if missing.
        lines: The lines to append, ending in a newline.

    Raises:
        OSError: If they cannot be written, as on a full disk; the message names the file.
    """
    with locked(file) as descriptor:
        size = os.fstat(descriptor).st_size
        end = _end_of_last_line(descriptor, size)
        if end != size:
            os.ftruncate(descriptor, end)
        try:
            while lines:
                written = os.pwrite(descriptor, lines, end)
                lines, end = lines[written:], end + written
        except OSError as error:
            error.filename = str(file)
            raise


@contextmanager
def locked(file: Path) -> Iterator[int]:
    """Open a file and lock it for this process; closing the file releases the lock."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _end_of_last_line(descriptor: int, size: int) -> int:
    """Return the offset after the last line break in a file."""
    end = size
    while end:
        start = max(0, end - 4096)
        place = os.pread(descriptor, end - start, start).rfind(b"\n")
        if place >= 0:
            return start + place + 1
        end = start
    return 0
