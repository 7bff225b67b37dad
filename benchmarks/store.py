"""Costs of a packed store of many adapters: time to fill, open and read it, bytes and files.

The adapters are synthetic: one million small ones, or fewer of a 1 B model's size:

    python -m benchmarks.store --output small.json
    python -m benchmarks.store --num_documents 2000 --num_params 983040 --dtype bfloat16
"""

import json
import platform
import random
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from jsonargparse import auto_cli
from torch import Tensor

from prag_lightning.adapters.layout import LoraConfig
from prag_lightning.adapters.store.opening import AdapterStore, open_store, verify_store
from prag_lightning.adapters.store.recipe import Recipe, StoreDtype
from prag_lightning.adapters.store.rows import RowCodec

_POOL = 512
ResultT = TypeVar("ResultT")


def benchmark_store(
    num_documents: int = 1_000_000,
    num_params: int = 2048,
    dtype: StoreDtype = "float32",
    batch_size: int = 256,
    num_reads: int = 2000,
    folder: Path | None = None,
    verify: bool = True,
    output: Path | None = None,
) -> None:
    """Fill a store, read from it, and print figures as JSON; the store is deleted at the end.

    Args:
        num_documents: Number of adapters in the store.
        num_params: Parameters of an adapter, a multiple of 4.
        dtype: Data type of the stored adapters.
        batch_size: Number of adapters stored with one flush to the disk. Storing single adapters
            is timed as well, on up to 1,000 of the documents.
        num_reads: Number of reads, of three random documents each.
        folder: Folder for the temporary store; by default the system's temporary folder.
        verify: Also read and check every adapter.
        output: Also write the figures to this file.
    """
    root = Path(tempfile.mkdtemp(prefix="prag-store-", dir=folder))
    try:
        recipe = synthetic_recipe(num_params)
        figures: dict[str, str | int | float] = {
            "machine": f"{platform.machine()}, Python {platform.python_version()}",
            "num_documents": num_documents,
            "num_params": num_params,
            "dtype": dtype,
            **time_writing(root, recipe, dtype, num_documents, batch_size),
            **time_reading(root, num_documents, num_reads),
            **measure_files(root, num_documents, RowCodec(recipe.layout, dtype).num_bytes),
        }
        if verify:
            figures["verify_s"], damages = timed(partial(verify_store, root))
            assert damages == []
        figures["peak_memory_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    finally:
        shutil.rmtree(root)
    text = json.dumps(figures, indent=1)
    print(text)
    if output is not None:
        output.write_text(text + "\n")


def synthetic_recipe(num_params: int) -> Recipe:
    """Return a recipe of adapters with this many parameters: one layer of rank 2."""
    width = num_params // 4
    return Recipe(
        base_model="synthetic",
        base_digest="synthetic",
        lora=LoraConfig(rank=2, alpha=32.0, target_modules=("down_proj",)),
        modules=(("model.layers.0.mlp.down_proj", width, width),),
        warm_start="random:0",
        training={},
        prompt_version="1",
    )


def time_writing(
    root: Path, recipe: Recipe, dtype: StoreDtype, num_documents: int, batch_size: int
) -> dict[str, float]:
    """Fill a store, the first documents singly, and return seconds and rates.

    Args:
        root: Folder of the store.
        recipe: Recipe of its adapters.
        dtype: Data type of the stored adapters.
        num_documents: How many.
        batch_size: Number of adapters stored with one flush to the disk.
    """
    num_singly = min(1000, num_documents // 10)
    store = open_store(root, recipe, dtype=dtype, mode="write")
    singly: list[float] = []
    for ids, rows in synthetic_adapters(range(num_singly), recipe, 1):
        singly.append(timed(partial(put, store, ids, rows))[0])
    spent = 0.0
    for ids, rows in synthetic_adapters(range(num_singly, num_documents), recipe, batch_size):
        spent += timed(partial(put, store, ids, rows))[0]
    close_s, _ = timed(store.close)
    return {
        "put_one_ms_median": 1e3 * statistics.median(singly),
        "put_batch_size": batch_size,
        "put_batch_documents_per_s": (num_documents - num_singly) / spent,
        "close_s": close_s,
    }


def put(store: AdapterStore, document_ids: list[str], rows: Tensor) -> None:
    """Store adapters, each with a digest of 32 digits like real ones.

    Args:
        store: The store, open for writing.
        document_ids: Ids of their documents.
        rows: The adapters, shape ``(n, num_params)``.
    """
    store.put_many(document_ids, rows, [f"{hash(i) & (2**128 - 1):032x}" for i in document_ids])


def synthetic_adapters(
    numbers: range, recipe: Recipe, batch_size: int
) -> Iterator[tuple[list[str], Tensor]]:
    """Yield batches of document ids and adapters, which begin with their document's number.

    Args:
        numbers: Numbers of the documents.
        recipe: Recipe of the adapters.
        batch_size: Number of adapters in a batch.
    """
    pool = torch.randn(min(_POOL, batch_size), recipe.layout.num_params)
    for start in range(numbers.start, numbers.stop, batch_size):
        chunk = range(start, min(start + batch_size, numbers.stop))
        rows = pool[torch.arange(len(chunk)) % len(pool)]
        rows[:, 0] = torch.tensor([mark(number) for number in chunk], dtype=torch.float32)
        yield [document_id(number) for number in chunk], rows


def document_id(number: int) -> str:
    """Return an id like those of Wikipedia's passages, in no particular order."""
    return f"passage-{number * 7_368_787 % 100_000_000:08d}"


def mark(number: int) -> int:
    """Return a number that is exact in bfloat16."""
    return number % 128


def time_reading(root: Path, num_documents: int, num_reads: int) -> dict[str, float]:
    """Open the store, read three documents at a time, and check that they are right.

    Args:
        root: Folder of the store.
        num_documents: Number of documents in it.
        num_reads: Number of reads.
    """
    open_s, store = timed(lambda: open_store(root, mode="read"))
    choice = random.Random(0)
    times: list[float] = []
    for _ in range(num_reads):
        numbers = choice.sample(range(num_documents), 3)
        ids = [document_id(number) for number in numbers]
        seconds, rows = timed(partial(store.get_many, ids))
        assert rows[:, 0].round().tolist() == [mark(number) for number in numbers]
        times.append(seconds)
    # Warm: the first half's reads are in the page cache, as in a second pass over a test set.
    choice, warm = random.Random(0), []
    for _ in range(num_reads):
        ids = [document_id(number) for number in choice.sample(range(num_documents), 3)]
        warm.append(timed(partial(store.get_many, ids))[0])
    store.close()
    return {
        "open_s": open_s,
        "get_3_ms_median_first": 1e3 * statistics.median(times),
        "get_3_ms_median_warm": 1e3 * statistics.median(warm),
        "get_3_ms_99_percent_warm": 1e3 * statistics.quantiles(warm, n=100)[98],
    }


def measure_files(root: Path, num_documents: int, tensor_bytes: int) -> dict[str, int | float]:
    """Return the files, the bytes, and the overhead of the store over its tensors.

    Args:
        root: Folder of the store.
        num_documents: Number of documents in it.
        tensor_bytes: Size of one adapter in bytes.
    """
    sizes = [path.stat().st_size for path in root.rglob("*") if path.is_file()]
    bytes_per_document = sum(sizes) / num_documents
    return {
        "num_files": len(sizes),
        "bytes_per_document": bytes_per_document,
        "overhead_percent": 100 * (bytes_per_document / tensor_bytes - 1),
    }


def timed(call: Callable[[], ResultT]) -> tuple[float, ResultT]:
    """Return the seconds that a call took, and its result."""
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


if __name__ == "__main__":
    auto_cli(benchmark_store, as_positional=False)
