"""Atomic writing."""

import errno
import multiprocessing
import os
import resource
import signal
import stat
import time
from pathlib import Path

import pytest

from prag_lightning.documents.writing import atomic_file, write_whole


def test_a_file_appears_whole_when_the_block_ends_with_its_folders(tmp_path: Path) -> None:
    file = tmp_path / "new" / "folder" / "file.txt"
    with atomic_file(file) as out:
        out.write("é\n")
        out.flush()
        assert not file.exists()
    assert file.read_bytes() == "é\n".encode()
    assert [path.name for path in file.parent.iterdir()] == ["file.txt"]


def _write_half(file: Path, error: type[BaseException]) -> None:
    with atomic_file(file, "wb") as out:
        out.write(b"new")
        raise error


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_the_former_content_and_nothing_else(
    tmp_path: Path, error: type[BaseException]
) -> None:
    file = tmp_path / "file"
    write_whole(file, "old")
    with pytest.raises(error):
        _write_half(file, error)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_what_a_killed_process_left_is_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "file"
    (tmp_path / ".file.tmp").write_text("longer than the new content")
    write_whole(file, b"new")
    assert file.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [file]


def test_the_mode_is_the_one_that_the_user_s_mask_says(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "file", "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


def test_links_are_never_written_through(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("untouched")
    (tmp_path / "file").symlink_to(other)
    write_whole(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "new"
    (tmp_path / ".again.tmp").symlink_to(other)
    with pytest.raises(OSError, match=r"\.again\.tmp"):
        write_whole(tmp_path / "again", "new")
    assert other.read_text() == "untouched"


def _write_many(file: Path, content: str) -> None:
    for _ in range(50):
        write_whole(file, content)


def test_processes_that_write_the_same_file_do_not_get_in_each_other_s_way(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    contents = ["a" * 100_000, "b" * 200_000]
    processes = [
        context.Process(target=_write_many, args=(tmp_path / "file", one)) for one in contents
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert (tmp_path / "file").read_text() in contents
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_disk_without_locks_is_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    write_whole(tmp_path / "file", "text")
    assert (tmp_path / "file").read_text() == "text"


def _write_slowly(file: Path) -> None:
    with atomic_file(file) as out:
        out.write("half")
        out.flush()
        time.sleep(60)


def test_a_killed_process_leaves_the_former_content(tmp_path: Path) -> None:
    file = tmp_path / "file"
    write_whole(file, "old")
    process = multiprocessing.get_context("fork").Process(target=_write_slowly, args=(file,))
    process.start()
    while not (tmp_path / ".file.tmp").exists() or not (tmp_path / ".file.tmp").read_text():
        time.sleep(0.01)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert file.read_text() == "old"
    write_whole(file, "new")
    assert file.read_text() == "new"


def test_a_full_disk_is_told_with_the_file(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(OSError, match=r"'.*/file'") as full:
            write_whole(tmp_path / "file", "text" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert full.value.errno == errno.EFBIG
    assert not list(tmp_path.iterdir())
