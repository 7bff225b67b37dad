"""Real runs of ``prag fit``, and the documents that they encode."""

from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
from torch import Tensor

from prag_lightning.demo.world import write_world
from tests.faults.runs import Runs, stored

NUM_PEOPLE = 6


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world of six people."""
    folder = tmp_path_factory.mktemp("world")
    write_world(folder, num_people=NUM_PEOPLE)
    return folder


@pytest.fixture
def runs(
    processes: ForkServerContext, base_dir: Path, world: Path, tmp_path: Path
) -> Iterator[Runs]:
    """Those that still run at the end are killed."""
    runs = Runs(processes, base_dir, world, tmp_path / "log")
    yield runs
    for process in runs.processes:
        process.kill()
        process.join()


@pytest.fixture(scope="session")
def undisturbed(
    processes: ForkServerContext,
    base_dir: Path,
    world: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Tensor]:
    """The adapters of a run, one document after another, that nothing happened to."""
    root = tmp_path_factory.mktemp("undisturbed")
    assert Runs(processes, base_dir, world, root / "log").status(root) == 0
    return stored(root / "adapters")
