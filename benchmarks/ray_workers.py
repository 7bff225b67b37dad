"""Documents a second of one local process, and of the workers of a local Ray cluster.

python -m benchmarks.ray_workers --num_documents 200 --output ray.json
"""

import subprocess
import sys
import tempfile
from datetime import datetime
from pathlib import Path

import torch
from jsonargparse import auto_cli

# Allows running this file from any folder.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measure import Row, describe, report
from prag_lightning.demo.world import write_world
from prag_lightning.documents.records import read_records
from prag_lightning.encoding.records import SUMMARY_FILE, FitSummary


def encode(root: Path, world: Path, *options: str) -> Row:
    """Run `prag fit` with one thread in each process, and return its speed.

    Seconds count from the first step of any process until the last adapter of any is written, so
    that loading the base counts only where a worker begins later than another.

    Args:
        root: Root folder of the run.
        world: Folder of the documents.
        options: Further options.
    """
    words = [
        *("fit", "--trainer.default_root_dir", str(root), "--data.folder", str(world)),
        *("--trainer.accelerator", "cpu", "--model.num_slots", "8", *options),
    ]
    subprocess.run(
        ["env", "OMP_NUM_THREADS=1", sys.executable, "-m", "prag_lightning", *words], check=True
    )
    fits = list(read_records(root / SUMMARY_FILE, FitSummary))
    starts = [datetime.fromisoformat(fit.started).timestamp() for fit in fits]
    ends = [start + fit.seconds for start, fit in zip(starts, fits, strict=True)]
    num_documents, seconds = sum(fit.num_documents for fit in fits), max(ends) - min(starts)
    return {
        "name": root.name,
        "documents": num_documents,
        "blocks": len(fits),
        "seconds": seconds,
        "documents_per_second": num_documents / seconds,
    }


def run(num_documents: int = 200, num_workers: int = 2, output: str | None = None) -> None:
    """Compare one process with the workers of a local cluster, and print a table.

    Args:
        num_documents: Number of documents; even.
        num_workers: Number of workers.
        output: JSON file of the results.
    """
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        world = Path(folder) / "world"
        write_world(world, num_people=num_documents)
        local = encode(Path(folder) / "local", world)
        workers = ("--engine", "ray", "--ray.num_workers", str(num_workers))
        by_ray = encode(Path(folder) / f"ray-{num_workers}", world, *workers)
    rows = [local, by_ray]
    speeds = [float(row["documents_per_second"] or 0) for row in rows]
    facts = {**describe(torch.device("cpu")), "times_local": speeds[1] / speeds[0]}
    report("encoding", facts, rows, output)


if __name__ == "__main__":
    auto_cli(run, as_positional=False)
