"""Runs of ``prag fit`` that are killed or interrupted, and then go on."""

import json
import os
import random
import re
import signal
import time
from functools import partial
from itertools import count
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from torch import Tensor

from prag_lightning.adapters.store.opening import verify_store
from prag_lightning.cli.exit_status import INTERRUPTED, TERMINATED
from prag_lightning.documents.records import Document, read_records
from prag_lightning.encoding.records import LOSSES_FILE, DocumentLosses
from tests.faults.conftest import NUM_PEOPLE
from tests.faults.runs import (
    Runs,
    assert_same,
    die_at_write,
    slow_disk,
    stored,
    wait_for_adapters,
)

# With each number of slots.
NUM_KILLS = 15
# A run makes some more; a number beyond its last kills nobody.
NUM_WRITES = 50


def kill_once(runs: Runs, root: Path, num_slots: int, choice: random.Random, longest: float) -> int:
    """Start a run and kill it at a random time, or at a random write; return its exit status."""
    if choice.random() < 0.5:
        trouble = partial(die_at_write, choice.randint(1, NUM_WRITES))
        return runs.status(root, num_slots, trouble=trouble) or 0
    process = runs.start(root, num_slots)
    process.join(choice.uniform(0, longest))
    process.kill()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def trained(root: Path) -> list[str]:
    """Return the documents that runs trained to their end, as far as they came to say so."""
    log = root / LOSSES_FILE
    lines = log.read_text().splitlines(keepends=True) if log.exists() else []
    return [json.loads(line)["document_id"] for line in lines if line.endswith("\n")]


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("num_slots", "tolerance"), [(1, 0.0), (3, 1e-6)])
@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_ends_with_the_adapters_of_one_that_is_not(
    runs: Runs,
    world: Path,
    tmp_path: Path,
    undisturbed: dict[str, Tensor],
    num_slots: int,
    tolerance: float,
) -> None:
    assert undisturbed.keys() == {d.id for d in read_records(world / "documents.jsonl", Document)}
    begin = time.monotonic()
    assert runs.status(tmp_path / "first", num_slots) == 0
    longest = time.monotonic() - begin
    choice, num_kills, found_at_a_kill = random.Random(num_slots), 0, set[int]()
    for number in count():
        root, before, status = tmp_path / str(number), dict[str, Tensor](), -1
        # Until the first run that nobody kills: it does what is left.
        while status != 0 and num_kills < NUM_KILLS:
            num_trained = len(trained(root))
            status = kill_once(runs, root, num_slots, choice, longest)
            assert status in (0, -signal.SIGKILL), runs.said
            assert not before.keys() & trained(root)[num_trained:], "trained though stored"
            after = stored(root / "adapters")
            # Nothing that was there is lost or changed.
            assert all(torch.equal(after[document_id], row) for document_id, row in before.items())
            before = after
            num_kills += status != 0
            found_at_a_kill.add(len(after))
        num_trained = len(trained(root))
        if status != 0:
            assert runs.status(root, num_slots) == 0
            missing = undisturbed.keys() - before.keys()
            assert sorted(trained(root)[num_trained:]) == sorted(missing)
        assert_same(stored(root / "adapters"), undisturbed, tolerance)
        written = read_records(root / LOSSES_FILE, DocumentLosses)
        assert {losses.document_id for losses in written} == undisturbed.keys()
        if num_kills == NUM_KILLS:
            break
    # The kills were not all at the beginning or the end.
    assert len(found_at_a_kill) >= 3


@pytest.mark.parametrize(
    ("signum", "status"), [(signal.SIGTERM, TERMINATED), (signal.SIGINT, INTERRUPTED)]
)
def test_a_run_that_is_asked_to_stop_saves_what_is_finished_and_says_so_by_its_status(
    runs: Runs, tmp_path: Path, signum: int, status: int
) -> None:
    process = runs.start(tmp_path)
    wait_for_adapters(tmp_path / "adapters", 1, process)
    assert process.pid is not None
    os.kill(process.pid, signum)
    process.join(20)
    assert process.exitcode == status
    num_saved = len(stored(tmp_path / "adapters"))
    assert 1 <= num_saved < NUM_PEOPLE
    assert runs.status(tmp_path) == 0
    assert f"{NUM_PEOPLE} documents, {num_saved} of them encoded before" in runs.said


@pytest.mark.slow
def test_a_second_ctrl_c_ends_a_run_at_once_though_its_disk_hangs(
    runs: Runs, tmp_path: Path, undisturbed: dict[str, Tensor]
) -> None:
    process = runs.start(tmp_path, trouble=partial(slow_disk, 1.0))
    store_dir = tmp_path / "adapters"
    while process.is_alive() and not list(store_dir.glob("writer-*/*.jsonl")):
        time.sleep(0.01)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGINT)
    process.join(0.5)
    # It waits for what is under way.
    assert process.is_alive()
    os.kill(process.pid, signal.SIGINT)
    process.join(1)
    assert process.exitcode == INTERRUPTED
    assert runs.status(tmp_path) == 0
    assert_same(stored(store_dir), undisturbed, 0.0)


def hold(runs: Runs, root: Path, num_stored: int) -> BaseProcess:
    """Start a run, and hold it up once there are this many adapters."""
    process = runs.start(root)
    wait_for_adapters(root / "adapters", num_stored, process)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGSTOP)
    return process


def go_on(process: BaseProcess) -> None:
    """Let a run go on that was held up, until it is done."""
    assert process.pid is not None
    os.kill(process.pid, signal.SIGCONT)
    process.join()
    assert process.exitcode == 0


@pytest.mark.slow
def test_two_runs_that_know_nothing_of_each_other_fill_one_store(
    runs: Runs, tmp_path: Path, undisturbed: dict[str, Tensor]
) -> None:
    first = hold(runs, tmp_path, 1)
    assert runs.status(tmp_path) == 0
    assert re.search(r"other processes are encoding [12] more of them", runs.said)
    assert len(stored(tmp_path / "adapters")) >= NUM_PEOPLE - 2
    go_on(first)
    assert_same(stored(tmp_path / "adapters"), undisturbed, 0.0)
    assert sorted(trained(tmp_path)) == sorted(undisturbed), "trained twice"
    assert verify_store(tmp_path / "adapters") == []


def test_a_run_takes_over_what_one_beside_it_had_claimed_that_was_killed(
    runs: Runs, tmp_path: Path, undisturbed: dict[str, Tensor]
) -> None:
    first = hold(runs, tmp_path, 1)
    second = hold(runs, tmp_path, 2)
    first.kill()
    first.join()
    go_on(second)
    assert_same(stored(tmp_path / "adapters"), undisturbed, 0.0)
    assert {path.name for path in tmp_path.glob("adapters/writer-*.lock")} == {
        "writer-00000.lock",
        "writer-00001.lock",
    }
