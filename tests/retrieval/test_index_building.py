"""Indexes built by several processes at once, on full disks and in folders of others."""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from prag_lightning.documents import still_running
from prag_lightning.documents.records import Document, Question
from prag_lightning.retrieval.bm25 import BM25Retriever, build_index
from prag_lightning.retrieval.index_building import building_lock

DOCUMENTS = [Document(id="a", text="one"), Document(id="b", text="two")]

BUILD = """
import sys, time
from prag_lightning.documents.records import Document
from prag_lightning.retrieval.bm25 import build_index
def documents():
    for number in range(int(sys.argv[2])):
        yield Document(id=str(number), text=f"word{number}")
        print("begun", flush=True)
        time.sleep(0.2)
try:
    print(build_index(documents(), sys.argv[1]))
except OSError as error:
    print(type(error).__name__, error)
"""


def build(index_dir: Path, num_documents: int) -> "subprocess.Popen[str]":
    """Start a process that builds an index slowly."""
    words = [sys.executable, "-c", BUILD, str(index_dir), str(num_documents)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_of_two_builds_at_once_one_wins_and_the_other_says_so(tmp_path: Path) -> None:
    index_dir = tmp_path / "index"
    first = build(index_dir, 20)
    assert first.stdout is not None
    first.stdout.readline()
    second, _ = build(index_dir, 2).communicate()
    assert second.startswith(f"BlockingIOError {index_dir}: another process is building this index")
    assert first.communicate()[0].splitlines()[-1] == "20"
    found = BM25Retriever(index_dir).retrieve([Question(id="q", question="word7")], 1)
    assert found[0][0].document_id == "7"
    # Once the first is done, nothing is in the way.
    assert build_index(DOCUMENTS, index_dir) == 2


def test_the_lock_of_a_killed_build_is_gone(tmp_path: Path) -> None:
    process = build(tmp_path / "index", 100)
    assert process.stdout is not None
    process.stdout.readline()
    process.kill()
    process.communicate()
    assert build_index(DOCUMENTS, tmp_path / "index") == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == [".index.lock", "index"]


def test_a_link_to_a_folder_elsewhere_stays_one(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data/index").symlink_to(tmp_path / "disk/index")
    for number in (1, 2):
        assert build_index(DOCUMENTS[:number], tmp_path / "data/index") == number
    assert (tmp_path / "data/index").readlink() == tmp_path / "disk/index"
    assert BM25Retriever(tmp_path / "disk/index").manifest.num_documents == 2


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of 256 kB."""
    if shutil.which("mount") is None:
        pytest.skip("there is no command to mount a small file system")
    folder = Path(tempfile.mkdtemp(prefix="prag-disk-"))
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "prag-test", str(folder)]
    try:
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("no small file system can be mounted here")
        yield folder
        subprocess.run(["umount", "--lazy", folder], check=True)
    finally:
        folder.rmdir()


def many_documents() -> Iterator[Document]:
    return (Document(id=str(n), text=f"word{n} other{n * 7}") for n in range(20_000))


def test_a_full_disk_is_an_error_of_the_disk_in_one_line(small_disk: Path) -> None:
    build_index(DOCUMENTS, small_disk / "index")
    with pytest.raises(OSError, match=r"index: the index cannot be written.*make room") as full:
        build_index(many_documents(), small_disk / "index")
    assert "\n" not in str(full.value)
    # What was there before is kept.
    assert BM25Retriever(small_disk / "index").manifest.num_documents == 2
    # The traceback keeps the files open that take the room.
    del full
    assert build_index(DOCUMENTS, small_disk / "index") == 2


def test_files_that_may_not_grow_are_an_error_of_the_disk(tmp_path: Path) -> None:
    program = (
        "import resource, signal, sys\n"
        "from prag_lightning.documents.records import Document\n"
        "from prag_lightning.retrieval.bm25 import build_index\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "try:\n"
        "    build_index((Document(id=str(n), text=f'w{n}') for n in range(9000)), sys.argv[1])\n"
        "except OSError as error:\n"
        "    print(error)\n"
    )
    index_dir = tmp_path / "index"
    said = subprocess.check_output([sys.executable, "-c", program, str(index_dir)], text=True)
    assert said.startswith(f"{index_dir}: the index cannot be written, perhaps because the disk")
    assert not index_dir.exists()


def test_a_read_only_folder_is_refused_in_one_line(small_disk: Path) -> None:
    build_index(DOCUMENTS, small_disk / "index")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    for index_dir in (small_disk / "index", small_disk / "new/index"):
        with pytest.raises(PermissionError, match=r"cannot be written here .*Read-only") as refused:
            build_index(DOCUMENTS, index_dir)
        assert str(index_dir) in str(refused.value)


def test_an_index_is_searched_where_nothing_may_be_written(
    small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_index(DOCUMENTS, small_disk / "index")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    retriever = BM25Retriever(small_disk / "index")
    found = retriever.retrieve([Question(id="q", question="two")], 1)
    assert [one.document_id for one in found[0]] == ["b"]
    assert list(tmp_path.iterdir())
    del retriever
    assert not list(tmp_path.iterdir())


def test_a_build_that_takes_long_says_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def slow_documents() -> Iterator[Document]:
        yield DOCUMENTS[0]
        time.sleep(0.2)
        yield DOCUMENTS[1]

    build_index(slow_documents(), tmp_path / "quick")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(still_running, "_FIRST_AFTER_S", 0.05)
    build_index(slow_documents(), tmp_path / "index")
    line = f"building {tmp_path / 'index'}: 1 documents so far"
    # After 0.05 s, and after 0.1 s more.
    assert capsys.readouterr().err.splitlines()[:2] == [line, line]


def test_waiting_for_another_process_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(still_running, "_FIRST_AFTER_S", 0.05)
    first = build(tmp_path / "index", 3)
    assert first.stdout is not None
    first.stdout.readline()
    with building_lock(tmp_path / "index", wait=True):
        assert first.wait() == 0
    assert f"waiting for another process to build {tmp_path / 'index'}" in capsys.readouterr().err
    first.communicate()
