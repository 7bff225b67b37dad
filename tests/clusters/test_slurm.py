"""The script for SLURM on a real SLURM: an array fills one store, also when it is pre-empted."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from prag_lightning.adapters.store.opening import open_store, verify_store
from prag_lightning.demo.world import write_world
from prag_lightning.documents.records import Document, read_records
from tests.clusters.slurm_cluster import Slurm, missing_programs, slurm_cluster

SCRIPT = Path(__file__).parents[2] / "docs" / "clusters" / "slurm.sh"
NUM_PEOPLE = 8

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    if missing := missing_programs():
        pytest.skip(f"SLURM is not installed (Debian: slurm-wlm): no {', '.join(missing)}")
    with slurm_cluster(tmp_path_factory.mktemp("slurm")) as running:
        yield running


def submit(slurm: Slurm, root: Path, *words: str) -> str:
    """Submit the array of four over a small world, and return its number."""
    write_world(root / "world", num_people=NUM_PEOPLE)
    # Where the command `prag` of this environment is.
    path = f"{Path(sys.executable).parent}:{slurm.variables['PATH']}"
    submitted = slurm.do(
        *("sbatch", "--parsable", f"--chdir={root}", f"--export=ALL,PATH={path},OMP_NUM_THREADS=1"),
        *(str(SCRIPT), "--config", "demo", "--data.folder", str(root / "world")),
        *("--trainer.default_root_dir", str(root / "run"), *words),
    )
    return submitted.partition(";")[0]


def is_done(slurm: Slurm) -> bool:
    """Return whether no task is waiting or running."""
    return slurm.do("squeue", "--noheader", "--format=%t") == ""


def check(root: Path) -> None:
    """Check that every document is stored once, and whole."""
    documents = read_records(root / "world" / "documents.jsonl", Document)
    with open_store(root / "run" / "adapters", mode="read") as store:
        assert set(store.ids()) == {document.id for document in documents}
    assert not [one for one in verify_store(root / "run" / "adapters") if not one.harmless]


def num_lines(root: Path) -> int:
    """Return how many adapters all tasks have stored."""
    journals = (root / "run" / "adapters").glob("writer-*/*.jsonl")
    return sum(len(journal.read_text().splitlines()) for journal in journals)


def test_an_array_of_four_fills_one_store(slurm: Slurm, tmp_path: Path) -> None:
    job = submit(slurm, tmp_path, "--data.passes", "1", "--model.num_slots", "1")
    slurm.wait_for(lambda: is_done(slurm), 900)
    check(tmp_path)
    assert num_lines(tmp_path) == NUM_PEOPLE
    logs = sorted(tmp_path.glob(f"prag-{job}_*.log"))
    assert len(logs) == 4
    assert all("are in" in log.read_text() for log in logs)


def test_a_task_that_is_asked_to_stop_is_queued_again_and_nothing_is_lost(
    slurm: Slurm, tmp_path: Path
) -> None:
    job = submit(slurm, tmp_path, "--data.passes", "3", "--model.num_slots", "1")
    slurm.wait_for(lambda: num_lines(tmp_path) >= 2, 600)
    # What SLURM sends a minute before the time limit, to the script alone.
    (running, *_) = slurm.do("squeue", "-h", "-t", "RUNNING", "-o", "%i").split()
    # The signal arrives at once; the command asks the controller again, and fails, for the task is
    # being requeued when it does.
    words = ["scancel", "--signal=TERM", "--batch", running]
    signalling = subprocess.Popen(words, env=slurm.variables, stderr=subprocess.DEVNULL)
    slurm.wait_for(lambda: "Restarts=1" in slurm.do("scontrol", "show", "job", running), 120)
    num_saved = num_lines(tmp_path)
    signalling.kill()
    signalling.wait()
    # Instead of the two minutes that SLURM waits.
    slurm.wait_for(lambda: "PENDING" in slurm.do("scontrol", "show", "job", running), 60)
    slurm.do("scontrol", "update", f"JobId={running}", "StartTime=now")
    slurm.wait_for(lambda: is_done(slurm), 1200)
    check(tmp_path)
    assert num_saved >= 2
    again = (tmp_path / f"prag-{running}.log").read_text()
    assert "of them encoded before" in again.split("are in", 1)[0]
    assert job in running
