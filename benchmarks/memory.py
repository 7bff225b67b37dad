"""Peak memory of encoding, without the model's: the published procedure, and the bank by slots.

python benchmarks/memory.py --size tiny --output memory.json
"""

import multiprocessing
import resource
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

# Allows running this file from any folder.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.bank_encoder import BankEncoder
from benchmarks.encode import DeviceName
from benchmarks.measure import Row, describe, report
from benchmarks.published import encode_published, save_warm_start
from benchmarks.workload import (
    SIZES,
    SizeName,
    random_base,
    training_prompts,
    write_documents,
    write_tokenizer,
)
from prag_lightning.adapters.layout import LoraConfig

PUBLISHED = {"published": True, "published_unpadded": False}


def peak_bytes(size_name: SizeName, device_name: DeviceName, name: str) -> int:
    """Return the peak memory of a method in bytes, minus the memory at its start.

    Args:
        size_name: Size of the model and the documents.
        device_name: Device to run on.
        name: ``published``, ``published_unpadded`` or ``bank-N``; a bank has one document per slot.
    """
    size, device = SIZES[size_name], torch.device(device_name)
    if device_name == "cpu":
        torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_tokenizer(size, root / "tokenizer")
        base = random_base(size, device)
        num_slots = 1 if name in PUBLISHED else int(name.rpartition("-")[2])
        write_documents(size, num_slots, root / "documents")
        if name not in PUBLISHED:
            encoder = BankEncoder(base, root / "tokenizer")
            before = _held_bytes(device)
            encoder.encode(num_slots, root / "documents")
        else:
            base = save_warm_start(base.float(), LoraConfig(), root / "start")
            (prompts,) = training_prompts(root / "documents", root / "tokenizer")
            before = _held_bytes(device)
            pad_to = size.pad_to if PUBLISHED[name] else None
            encode_published(base, root / "start", prompts, root / "adapter", pad_to)
        return _peak_bytes(device) - before


def _held_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def run(
    size: SizeName = "tiny",
    device: DeviceName = "cpu",
    output: str | None = None,
    slots: tuple[int, ...] = (1, 4, 16, 64),
) -> None:
    """Measure the peak memory of encoding, each method in its own process.

    Args:
        size: Shape of the model, which has random weights.
        device: Where.
        output: JSON file of the results.
        slots: Numbers of slots of the banks.
    """
    spawn = multiprocessing.get_context("spawn")
    rows: list[Row] = []
    for name in (*PUBLISHED, *(f"bank-{n}" for n in slots)):
        with ProcessPoolExecutor(1, mp_context=spawn) as pool:
            peak = pool.submit(peak_bytes, size, device, name).result()
        at_once = 1 if name in PUBLISHED else int(name.rpartition("-")[2])
        mib = peak / 2**20
        rows.append(
            {
                "name": name,
                "documents_at_once": at_once,
                "peak_mib": mib,
                "mib_per_document": mib / at_once,
            }
        )
    facts = {**describe(torch.device(device)), "size": size}
    report(f"Peak memory of encoding, {size} on {device}", facts, rows, output)


if __name__ == "__main__":
    from jsonargparse import auto_cli

    auto_cli(run)
