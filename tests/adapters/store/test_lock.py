"""Many writers at a time, or one process alone."""

import errno
import fcntl
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from prag_lightning.adapters.files import StoreFiles
from prag_lightning.adapters.store import lock, lock_file, opening
from prag_lightning.adapters.store.claims import read_claims
from prag_lightning.adapters.store.durable import StoreLostError
from prag_lightning.adapters.store.lock import StoreLock, WriterLock, living_writers
from prag_lightning.adapters.store.manifest import Manifest
from prag_lightning.adapters.store.opening import open_store, repair_store, verify_store
from tests.adapters.store.store_world import (
    LAYOUTS,
    RECIPE,
    adapters,
    damages,
    fill,
    names,
    put,
)

HERE = f"process {os.getpid()} on host {socket.gethostname()}"


def test_whoever_needs_the_store_alone_is_refused_with_the_writers_processes_and_hosts(
    tmp_path: Path,
) -> None:
    with open_store(tmp_path, RECIPE, mode="write") as first:
        put(first, "doc 0", adapters(1)[0], "text")
        # The only writer may delete.
        first.delete(["doc 0"])
        with open_store(tmp_path, RECIPE, mode="write") as second:
            with pytest.raises(BlockingIOError, match=f"{HERE} is writing into this store, which"):
                second.delete(["doc 0"])
            with pytest.raises(BlockingIOError, match=f"{HERE}, {HERE} are writing"):
                repair_store(tmp_path)
    repair_store(tmp_path)


def test_no_writer_is_let_in_while_another_process_has_the_store_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "_PATIENCE", 0.05)
    fill(tmp_path, 2)
    alone = StoreLock(tmp_path)
    with pytest.raises(BlockingIOError, match=f"{HERE} deletes, repairs or merges in this store"):
        open_store(tmp_path, RECIPE, mode="write")
    with pytest.raises(BlockingIOError, match=f"{HERE} is writing"):
        StoreLock(tmp_path)
    alone.release()
    open_store(tmp_path, RECIPE, mode="write").close()


def test_reading_needs_no_lock(tmp_path: Path) -> None:
    rows = fill(tmp_path, 2)
    with open_store(tmp_path, RECIPE, mode="write"), open_store(tmp_path, mode="read") as store:
        assert torch.equal(store.get_many(names(2)), rows)


def test_the_lock_of_a_process_that_was_killed_is_free_though_its_worker_lives(
    tmp_path: Path,
) -> None:
    program = (
        "import sys, time; from pathlib import Path;"
        "from prag_lightning.adapters.store.lock import WriterLock;"
        "lock = WriterLock(Path(sys.argv[1]));"
        # A worker that outlives its parent must not hold on to the lock.
        "import os; os.fork() or time.sleep(10); print('held', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    try:
        with pytest.raises(BlockingIOError, match=f"process {process.pid} on host"):
            StoreLock(tmp_path)
        process.kill()
        process.wait()
        # As soon as the worker has run at all.
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            try:
                StoreLock(tmp_path).release()
                break
            except BlockingIOError:
                time.sleep(0.01)
        else:
            pytest.fail("the lock was not given back")
    finally:
        process.stdout.close()
        process.kill()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_writers_that_come_and_go_fill_one_store(tmp_path: Path, layout: str) -> None:
    rows = [adapters(4, seed=writer) for writer in range(3)]
    ids = [[f"writer {writer}, {name}" for name in names(4)] for writer in range(3)]
    stores = [open_store(tmp_path, RECIPE, layout=layout, mode="write") for _ in range(3)]
    for document in range(4):
        for writer, store in enumerate(stores):
            put(store, ids[writer][document], rows[writer][document], "text")
    stores.pop(1).close()
    # Its number is free again, and its files go on.
    with open_store(tmp_path, RECIPE, layout=layout, mode="write") as store:
        assert store.writer == 1
        put(store, "later", rows[0][0], "text")
    for store in stores:
        store.refresh()
        assert "later" in store
        store.close()
    with open_store(tmp_path, mode="read") as store:
        assert len(store) == 13
        for writer in range(3):
            assert torch.equal(store.get_many(ids[writer]), rows[writer])
    assert verify_store(tmp_path) == []
    assert len(list(tmp_path.glob("writer-*.lock"))) == 3


_WRITER = """
import sys, time
from pathlib import Path
from prag_lightning.adapters.store.lock import WriterLock
lock = WriterLock(Path(sys.argv[1]))
print(lock.number, flush=True)
time.sleep(60)
"""


def test_a_writer_takes_over_what_a_killed_one_of_its_own_host_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [sys.executable, "-c", _WRITER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "0\n"
        other = WriterLock(tmp_path)
        assert other.number == 1
        assert [holder.pid for _, holder in living_writers(tmp_path)] == [process.pid, os.getpid()]
        process.kill()
        process.wait()
    assert [holder.pid for _, holder in living_writers(tmp_path)] == [os.getpid()]
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(socket, "gethostname", lambda: "another")
        third = WriterLock(tmp_path)
        # On another host the lock might only seem free; one that was released is free everywhere.
        assert third.number == 2
        other.release()
        again = WriterLock(tmp_path)
        assert again.number == 1
    assert WriterLock(tmp_path).number == 0
    third.release()
    again.release()
    lock_file.let_go()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_document_is_claimed_once_until_it_is_stored_or_its_writer_is_done(
    tmp_path: Path, layout: str
) -> None:
    first = open_store(tmp_path, RECIPE, layout=layout, mode="write")
    second = open_store(tmp_path, RECIPE, layout=layout, mode="write")
    assert first.claim(names(4)) == names(4)
    assert second.claim(names(6)) == ["doc 4", "doc 5"]
    put(first, "doc 0", adapters(1)[0], "text")
    first.release(["doc 1"])
    assert read_claims(tmp_path) == {0: names(4), 1: ["doc 4", "doc 5"]}
    assert first.claim(["doc 5"]) == []
    # Stored and given up, which whoever claims them sees.
    assert second.claim(names(4)) == ["doc 0", "doc 1"]
    assert second.text_digests(names(4)) == {"doc 0": "text"}
    first.close()
    assert read_claims(tmp_path) == {1: ["doc 4", "doc 5", "doc 0", "doc 1"]}
    # Another writer under the number of one that is done does not inherit its claims.
    third = open_store(tmp_path, RECIPE, layout=layout, mode="write")
    assert third.writer == 0
    assert second.claim(["doc 2"]) == ["doc 2"]
    assert third.claim(names(6)) == ["doc 3"]
    (tmp_path / "claims.lock").write_text('{"0": ["torn')
    assert second.claim(["doc 3"]) == ["doc 3"]
    for store in (second, third):
        store.close()


def test_a_store_is_created_once_by_processes_that_open_it_at_the_same_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = RECIPE.model_copy(update={"prompt_version": "2"})
    real, begun = opening._create, list[bool]()

    def create(files: StoreFiles, manifest: Manifest) -> None:
        if not begun:
            begun.append(True)
            # Another process is faster, between the look for a manifest and its creation.
            with open_store(tmp_path, RECIPE, mode="write") as store:
                put(store, "doc 0", adapters(1)[0], "text")
        real(files, manifest)

    monkeypatch.setattr(opening, "_create", create)
    with pytest.raises(ValueError, match="prompt_version: the store has '1', this run asks"):
        open_store(tmp_path, other, mode="write")
    begun.clear()
    shutil.rmtree(tmp_path)
    with open_store(tmp_path, RECIPE, mode="write") as store:
        assert len(store) == 1
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_store_that_is_deleted_or_replaced_while_a_run_writes_is_missed_at_the_next_adapter(
    tmp_path: Path,
) -> None:
    for layout in LAYOUTS:
        for replaced in (False, True):
            folder = tmp_path / f"{layout} {replaced}"
            store = open_store(folder, RECIPE, layout=layout, mode="write")
            put(store, "doc 0", adapters(1)[0], "text")
            folder.rename(tmp_path / f"moved {folder.name}")
            if replaced:
                fill(folder, 3, layout)
            lost = re.escape(f"{folder}: this store was deleted, moved or unlocked")
            with pytest.raises(StoreLostError, match=lost):
                put(store, "doc 1", adapters(1)[0], "text")
            with pytest.raises(StoreLostError, match=lost):
                store.close()
            assert folder.exists() == replaced
            if replaced:
                assert verify_store(folder) == []
        assert damages(tmp_path / f"moved {layout} True") == []


def no_flock(*_: int) -> None:
    raise OSError(errno.ENOLCK, "No locks available")


@pytest.mark.parametrize(
    ("holder", "free"),
    [
        (json.dumps({"pid": os.getpid(), "host": socket.gethostname()}), False),
        # One more than Linux gives out.
        (json.dumps({"pid": 2**22 + 1, "host": socket.gethostname()}), True),
        (json.dumps({"pid": 2**22 + 1, "host": "another"}), False),
        (json.dumps({"pid": os.getpid(), "host": "another", "released": True}), True),
        ("", True),
        ("[]", True),
    ],
    # Without the process's number, which every worker has another of.
    ids=["alive", "dead", "elsewhere", "released", "empty", "torn"],
)  # fmt: skip
def test_without_flock_the_holders_process_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, holder: str, free: bool
) -> None:
    monkeypatch.setattr(fcntl, "flock", no_flock)
    monkeypatch.setattr(lock, "_PATIENCE", 0.05)
    (tmp_path / "run.lock").write_text(holder)
    (tmp_path / "writer-00000.lock").write_text(holder)
    if free:
        StoreLock(tmp_path).release()
    else:
        for take in (StoreLock, WriterLock):
            with pytest.raises(BlockingIOError, match=r"delete the \*\.lock files"):
                take(tmp_path)
    (tmp_path / "run.lock").unlink()
    # Of two processes that would take over a writer both might believe that they have.
    assert WriterLock(tmp_path).number > 0
