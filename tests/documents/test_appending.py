"""Appending lines to a file."""

import errno
from pathlib import Path

import pytest

from prag_lightning.documents.appending import append_lines


def test_lines_stand_behind_whole_lines_only(tmp_path: Path) -> None:
    file = tmp_path / "lines"
    file.write_bytes(b"one\nhalf of tw")
    append_lines(file, b"two\nthree\n")
    assert file.read_bytes() == b"one\ntwo\nthree\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's full device")
def test_a_full_disk_is_told_with_the_file() -> None:
    with pytest.raises(OSError, match="'/dev/full'") as full:
        append_lines(Path("/dev/full"), b"line\n")
    assert full.value.errno == errno.ENOSPC
