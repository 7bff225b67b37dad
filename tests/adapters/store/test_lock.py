"""One run at a time."""

import errno
import fcntl
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from prag_lightning.adapters.store.durable import StoreLostError
from prag_lightning.adapters.store.lock import RunLock, current_run_id
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


def test_a_second_run_is_refused_with_the_first_ones_process_and_host(tmp_path: Path) -> None:
    here = f"process {os.getpid()} on host {socket.gethostname()}"
    with open_store(tmp_path, RECIPE, mode="write", run_id="first"):
        with pytest.raises(BlockingIOError, match=f"{here} is writing into this store; wait"):
            open_store(tmp_path, RECIPE, mode="write", run_id="second")
        with pytest.raises(BlockingIOError, match=f"{here} is writing"):
            repair_store(tmp_path)
    open_store(tmp_path, RECIPE, mode="write", run_id="second").close()


def test_reading_needs_no_lock(tmp_path: Path) -> None:
    rows = fill(tmp_path, 2)
    with open_store(tmp_path, RECIPE, mode="write"), open_store(tmp_path, mode="read") as store:
        assert torch.equal(store.get_many(names(2)), rows)


def test_the_lock_of_a_process_that_was_killed_is_free_though_its_worker_lives(
    tmp_path: Path,
) -> None:
    program = (
        "import sys, time; from pathlib import Path;"
        "from prag_lightning.adapters.store.lock import RunLock;"
        "lock = RunLock(Path(sys.argv[1]), 0, 'killed'); lock.announce();"
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
            RunLock(tmp_path, 0, "next")
        process.kill()
        process.wait()
        # As soon as the worker has run at all.
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            try:
                RunLock(tmp_path, 0, "next").release()
                break
            except BlockingIOError:
                time.sleep(0.01)
        else:
            pytest.fail("the lock was not given back")
    finally:
        process.stdout.close()
        process.kill()


def test_the_ranks_of_one_run_write_into_one_store(tmp_path: Path) -> None:
    rows = [adapters(4, seed=rank) for rank in range(3)]
    ids = [[f"rank {rank}, {name}" for name in names(4)] for rank in range(3)]
    stores = [
        open_store(tmp_path, RECIPE, mode="write", rank=rank, run_id="run") for rank in range(3)
    ]
    for document in range(4):
        for rank, store in enumerate(stores):
            put(store, ids[rank][document], rows[rank][document], "text")
    for store in stores:
        store.close()
    with open_store(tmp_path, mode="read") as store:
        assert len(store) == 12
        for rank in range(3):
            assert torch.equal(store.get_many(ids[rank]), rows[rank])
    assert verify_store(tmp_path) == []
    # With fewer ranks than before, all is still there.
    with open_store(tmp_path, RECIPE, mode="write") as store:
        assert ids[2][3] in store


def test_a_rank_waits_for_rank_0_of_its_own_run(tmp_path: Path) -> None:
    held: list[RunLock] = []

    def open_late() -> None:
        time.sleep(0.2)
        held.append(RunLock(tmp_path, 0, "run"))
        held[0].announce()

    late = threading.Thread(target=open_late)
    late.start()
    rank = RunLock(tmp_path, 1, "run", wait=10)
    late.join()
    with pytest.raises(TimeoutError, match=r"rank 0 of this run \(other\) did not open the store"):
        RunLock(tmp_path, 2, "other", wait=0.1)
    with pytest.raises(BlockingIOError, match="is writing into this store"):
        RunLock(tmp_path, 1, "run", wait=0.1)
    rank.release()
    held[0].release()


def test_a_rank_that_comes_when_rank_0_is_done_still_joins(tmp_path: Path) -> None:
    open_store(tmp_path, RECIPE, mode="write", run_id="run").close()
    open_store(tmp_path, RECIPE, mode="write", rank=1, run_id="run").close()


def test_what_a_finished_run_left_lets_no_rank_of_the_next_one_in_before_its_rank_0(
    tmp_path: Path,
) -> None:
    # The meeting point of torchrun is the same for every run.
    for _ in range(2):
        with pytest.raises(TimeoutError, match=r"did not open the store within 0\.1 seconds"):
            RunLock(tmp_path, 1, "node1:29500", wait=0.1)
        first = RunLock(tmp_path, 0, "node1:29500")
        first.announce()
        RunLock(tmp_path, 1, "node1:29500", wait=0.1).release()
        first.release()


_RANK = """
import sys, time
from pathlib import Path
from prag_lightning.adapters.store.lock import RunLock
lock = RunLock(Path(sys.argv[1]), int(sys.argv[2]), "first")
lock.announce()
print("held", flush=True)
time.sleep(60)
"""


def test_no_run_is_let_in_while_a_rank_lives_whose_rank_0_was_killed(tmp_path: Path) -> None:
    ranks: list[subprocess.Popen[str]] = []
    try:
        for rank in range(2):
            command = [sys.executable, "-c", _RANK, str(tmp_path), str(rank)]
            ranks.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            stdout = ranks[rank].stdout
            assert stdout is not None
            assert stdout.readline() == "held\n"
        ranks[0].kill()
        ranks[0].wait()
        # Also one that thinks it is the same.
        for run_id in ("second", "first"):
            with pytest.raises(BlockingIOError, match=f"process {ranks[1].pid} on host"):
                RunLock(tmp_path, 0, run_id)
        ranks[1].kill()
        ranks[1].wait()
        RunLock(tmp_path, 0, "second").release()
    finally:
        for process in ranks:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


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


@pytest.mark.parametrize(
    ("holder", "free"),
    [
        (json.dumps({"pid": os.getpid(), "host": socket.gethostname()}), False),
        # One more than Linux gives out.
        (json.dumps({"pid": 2**22 + 1, "host": socket.gethostname()}), True),
        (json.dumps({"pid": 2**22 + 1, "host": "another"}), False),
        ('{"run_id": "released"}', True),
        ("", True),
        ("[]", True),
    ],
    # Without the process's number, which every worker has another of.
    ids=["alive", "dead", "elsewhere", "released", "empty", "torn"],
)  # fmt: skip
def test_without_flock_the_holders_process_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, holder: str, free: bool
) -> None:
    def no_flock(*_: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_flock)
    (tmp_path / "run.lock").write_text(holder)
    if free:
        RunLock(tmp_path, 0, "next").release()
    else:
        with pytest.raises(BlockingIOError, match=r"delete the \*\.lock files"):
            RunLock(tmp_path, 0, "next")


def test_a_run_is_known_by_its_job_or_its_meeting_point(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("SLURM_", "TORCHELASTIC_", "MASTER_")):
            monkeypatch.delenv(name)
    alone = current_run_id()
    monkeypatch.setenv("MASTER_ADDR", "node1")
    monkeypatch.setenv("MASTER_PORT", "29500")
    launched = current_run_id()
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert [alone, launched, current_run_id()] == [":", "node1:29500", "slurm 7."]


def test_a_run_of_the_same_job_or_port_is_another_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def run_id(**settings: str) -> str:
        with monkeypatch.context() as patch:
            for name, value in settings.items():
                patch.setenv(name, value)
            return current_run_id()

    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setenv("MASTER_PORT", "29500")
    logs = "/tmp/torchelastic_a/none_{run}/attempt_0/{rank}/error.json"
    one, same, other, elsewhere = (
        run_id(
            TORCHELASTIC_ERROR_FILE=logs.format(run=run, rank=rank),
            LOCAL_WORLD_SIZE="2",
            WORLD_SIZE=size,
        )
        for run, rank, size in [("a", 0, "2"), ("a", 1, "2"), ("b", 0, "2"), ("b", 0, "4")]
    )
    assert one == same != other
    # Every machine of several has a folder of its own.
    assert elsewhere == run_id()
    job = {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0"}
    assert run_id(**job) == "slurm 7.0" != run_id(**job, SLURM_RESTART_COUNT="1")
