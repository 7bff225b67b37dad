"""Independent processes that fill one store, against one process, in documents a second.

python benchmarks/writers.py --documents 200 --output writers.json
"""

import json
import sys
import tempfile
import time
from multiprocessing import get_context
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import NamedTuple

# Allows running this file from any folder.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from lightning import Trainer

from benchmarks.measure import Row, describe, report
from prag_lightning import AdapterWriter, DocumentDataModule, ParametricRAG, WarmStart, open_store
from prag_lightning.callbacks import EncodingLog
from prag_lightning.demo.world import write_world
from prag_lightning.encoding.records import LOSSES_FILE


class Times(NamedTuple):
    """What one process took for its ``fit``, in seconds: by the clock, and of the processor."""

    begin: float
    end: float
    processor: float


def encode(world: Path, root: Path, num_slots: int, start: Barrier, times: "Queue[Times]") -> None:
    """Encode a folder's documents, as one of the processes that share them."""
    torch.set_num_threads(1)
    data = DocumentDataModule(str(world), num_slots=num_slots)
    module = ParametricRAG("demo", num_slots=num_slots)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=1,
        default_root_dir=root,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        logger=False,
        callbacks=[EncodingLog(), WarmStart(), AdapterWriter(str(root / "adapters"))],
    )
    module.configure_model()
    # Without imports and loading, which take each process the same time.
    start.wait()
    begin, processor = time.time(), time.process_time()
    trainer.fit(module, data)
    times.put(Times(begin, time.time(), time.process_time() - processor))


def fill(world: Path, root: Path, num_writers: int, num_slots: int) -> Row:
    """Fill a store with some processes, and return what it took.

    Args:
        world: Folder of the documents.
        root: Folder of the run.
        num_writers: Number of processes.
        num_slots: How many documents train at once in each.
    """
    context = get_context("spawn")
    start, queue = context.Barrier(num_writers), context.Queue()
    arguments = world, root, num_slots, start, queue
    processes = [context.Process(target=encode, args=arguments) for _ in range(num_writers)]
    for process in processes:
        process.start()
    times: list[Times] = [queue.get() for _ in processes]
    for process in processes:
        process.join()
    trained = [
        json.loads(line)["document_id"] for line in (root / LOSSES_FILE).read_text().splitlines()
    ]
    with open_store(root / "adapters", mode="read") as store:
        num_stored = len(store)
    seconds = max(t.end for t in times) - min(t.begin for t in times)
    return {
        "name": f"writers-{num_writers}",
        "documents": num_stored,
        "trained_twice": len(trained) - len(set(trained)),
        "seconds": seconds,
        "documents_per_second": num_stored / seconds,
        "processor_seconds_per_document": sum(t.processor for t in times) / num_stored,
    }


def run(
    documents: int = 200,
    writers: list[int] | None = None,
    num_slots: int = 8,
    rounds: int = 1,
    output: str | None = None,
) -> None:
    """Fill stores of the embedded world with one process and with several, and compare them.

    Processes have one thread each. On a busy machine, compare the processor time of a document:
    with two idle cores, two processes are as many times faster as it stays the same.

    Args:
        documents: Number of documents; even.
        writers: Numbers of processes; by default 1 and 2.
        num_slots: How many documents train at once in each.
        rounds: Rounds, of which each fills one store with each number of processes.
        output: JSON file of the results.
    """
    torch.set_num_threads(1)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        world = Path(folder) / "world"
        write_world(world, num_people=documents)
        for number in range(rounds):
            for num_writers in writers or [1, 2]:
                root = Path(folder) / f"round-{number}-writers-{num_writers}"
                rows.append({**fill(world, root, num_writers, num_slots), "round": number})
    facts = {**describe(torch.device("cpu")), "num_slots": num_slots}
    report("Independent writers, embedded base", facts, rows, output)


if __name__ == "__main__":
    from jsonargparse import auto_cli

    auto_cli(run)
