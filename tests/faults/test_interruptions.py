"""Real runs of ``prag fit`` that are killed, interrupted or lose a process, and then go on."""

import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Protocol

import pytest
import torch
from torch import Tensor

from prag_lightning.adapters.store import open_store
from prag_lightning.cli import main
from prag_lightning.data.documents import Document, read_records
from prag_lightning.demo.world import write_world
from prag_lightning.exit_status import INTERRUPTED, TERMINATED

NUM_KILLS = 30
NUM_PEOPLE = 8


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """Makes processes that have imported everything: a fit then begins within a second."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["prag_lightning.trainer_cli", "prag_lightning.demo.world"])
    return context


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    write_world(folder, num_people=NUM_PEOPLE)
    return folder


def fit(base_dir: Path, world: Path, root: Path, num_slots: int, passes: int, log: Path) -> None:
    """Run ``prag fit`` and end this process with its status."""
    torch.set_num_threads(1)
    with log.open("a") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    words = [
        *("fit", "--trainer.accelerator", "cpu", "--trainer.default_root_dir", str(root)),
        *("--model.base", str(base_dir), "--model.num_slots", str(num_slots)),
        *("--data.folder", str(world), "--data.passes", str(passes), "--model.lr", "0.003"),
    ]
    sys.exit(main(words))


class Start(Protocol):
    """Starts a fit in a process of its own."""

    def __call__(self, root: Path, num_slots: int, passes: int = 1) -> BaseProcess: ...


@pytest.fixture
def start(
    processes: ForkServerContext, base_dir: Path, world: Path, tmp_path: Path
) -> Iterator[Start]:
    """Those that still run at the end are killed."""
    running: list[BaseProcess] = []

    def begin(root: Path, num_slots: int, passes: int = 1) -> BaseProcess:
        process = processes.Process(
            target=fit, args=(base_dir, world, root, num_slots, passes, tmp_path / "log")
        )
        process.start()
        running.append(process)
        return process

    yield begin
    for process in running:
        process.kill()
        process.join()


def stored(root: Path) -> dict[str, Tensor]:
    """Return the whole adapters of a store, which must be undamaged."""
    if not (root / "adapters" / "manifest.json").exists():
        return {}
    with open_store(str(root / "adapters"), mode="read") as store:
        assert store.verify() == []
        ids = sorted(store.ids())
        return dict(zip(ids, store.get_many(ids), strict=True))


def wait_for_adapters(root: Path, count: int, process: BaseProcess) -> None:
    """Wait until the store holds ``count`` adapters."""
    while process.is_alive() and len(list((root / "adapters").glob("**/*.safetensors"))) == 0:
        time.sleep(0.01)
    while process.is_alive() and len(stored(root)) < count:
        time.sleep(0.01)


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("num_slots", "tolerance"), [(1, 0.0), (3, 1e-6)])
def test_a_run_that_is_killed_again_and_again_ends_with_the_adapters_of_one_that_is_not(
    start: Start, world: Path, tmp_path: Path, num_slots: int, tolerance: float
) -> None:
    undisturbed = start(tmp_path / "undisturbed", num_slots)
    begin = time.monotonic()
    undisturbed.join()
    assert undisturbed.exitcode == 0
    duration = time.monotonic() - begin
    expected = stored(tmp_path / "undisturbed")
    assert expected.keys() == {d.id for d in read_records(world / "documents.jsonl", Document)}
    rng = random.Random(0)
    root, before = tmp_path / "killed", dict[str, Tensor]()
    for _ in range(NUM_KILLS // 2):
        process = start(root, num_slots)
        time.sleep(rng.uniform(0, duration))
        process.kill()
        process.join()
        after = stored(root)
        # Nothing that was there is lost, or encoded again into other bits.
        assert all(torch.equal(after[document_id], row) for document_id, row in before.items())
        before = after
    last = start(root, num_slots)
    last.join()
    assert last.exitcode == 0
    found = stored(root)
    assert found.keys() == expected.keys()
    for document_id, row in expected.items():
        torch.testing.assert_close(found[document_id], row, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    ("signum", "status"), [(signal.SIGTERM, TERMINATED), (signal.SIGINT, INTERRUPTED)]
)
def test_a_run_that_is_asked_to_stop_saves_what_is_finished_and_says_so_by_its_status(
    start: Start, tmp_path: Path, signum: int, status: int
) -> None:
    root = tmp_path / "run"
    process = start(root, 1)
    wait_for_adapters(root, 1, process)
    assert process.pid is not None
    os.kill(process.pid, signum)
    process.join(20)
    assert process.exitcode == status
    num_saved = len(stored(root))
    assert 1 <= num_saved < NUM_PEOPLE
    again = start(root, 1)
    again.join()
    assert again.exitcode == 0
    assert (
        f"{NUM_PEOPLE} documents, {num_saved} of them encoded before"
        in (tmp_path / "log").read_text()
    )


def test_a_second_run_into_the_same_store_is_refused_with_the_first_one_s_process(
    start: Start, tmp_path: Path
) -> None:
    root = tmp_path / "run"
    # Long enough to be still at work when the second one comes.
    first = start(root, 1, passes=3)
    wait_for_adapters(root, 1, first)
    second = start(root, 1, passes=3)
    second.join()
    assert second.exitcode == 2
    assert f"process {first.pid} on host" in (tmp_path / "log").read_text()
    first.join()
    assert first.exitcode == 0
    assert len(stored(root)) == NUM_PEOPLE
