"""What a corpus of millions costs before anything is trained: index, plan and store.

Every stage runs in a process of its own, and its figures are printed, and appended to a file of
JSON Lines, as soon as it is done. Stages that need the files of an earlier one find them in the
folder:

    python -m benchmarks.scale --folder /tmp/million --num_documents 1000000
    python -m benchmarks.scale --folder /tmp/million --stages '[plan]'
"""

import json
import random
import resource
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from jsonargparse import auto_cli

from benchmarks.retrieval import synthetic_passages, synthetic_questions
from benchmarks.store import put, synthetic_adapters, synthetic_recipe
from prag_lightning.adapters.store.export import export_store
from prag_lightning.adapters.store.merging import merge_stores
from prag_lightning.adapters.store.opening import open_store, verify_store
from prag_lightning.adapters.store.status import store_status
from prag_lightning.datamodule import DocumentDataModule
from prag_lightning.documents.digests import text_digest
from prag_lightning.documents.records import (
    Augmentation,
    Document,
    QuestionAnswer,
    Record,
    read_records,
    records_file,
)
from prag_lightning.retrieval.bm25 import BM25Retriever, build_index

Stage = Literal[
    "data", "index", "ask", "plan", "fill", "open", "list", "status", "export", "verify", "merge"
]
STAGES: tuple[Stage, ...] = get_args(Stage)
Figures: TypeAlias = dict[str, Any]
_BATCH = 256
_NUM_SLOTS = 32


def measure(
    folder: Path,
    num_documents: int = 1_000_000,
    num_params: int = 2048,
    num_questions: int = 200,
    stages: list[Stage] = list(STAGES),  # noqa: B006 - only read
    output: Path | None = None,
) -> None:
    """Run stages one after another, and print each one's figures.

    Args:
        folder: Where the synthetic corpus, its index and the stores are kept.
        num_documents: Number of documents, each with a rewrite and three question-answer pairs.
        num_params: Parameters of an adapter, a multiple of 4.
        num_questions: Number of questions to the index.
        stages: What to measure, in order.
        output: Also append the figures to this file, one line for each stage.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for stage in stages:
        work = _WORK[stage]
        # A new process for each, so that one stage's memory is not counted for the next.
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            figures = pool.submit(
                _measured, work, folder, num_documents, num_params, num_questions
            ).result()
        line = json.dumps({"stage": stage, "num_documents": num_documents, **figures})
        print(line, flush=True)
        if output is not None:
            with output.open("a") as lines:
                lines.write(line + "\n")


def _measured(work: Callable[..., Figures], folder: Path, *sizes: int) -> Figures:
    """Return a stage's own figures, with its time and memory."""
    before_mib, start, start_cpu = _peak_mib(), time.perf_counter(), _processor_seconds()
    figures = work(folder, *sizes)
    return {
        "wall_s": round(time.perf_counter() - start, 2),
        "processor_s": round(_processor_seconds() - start_cpu, 2),
        "peak_mib": _peak_mib(),
        "peak_mib_of_imports": before_mib,
        **figures,
    }


def _processor_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _peak_mib() -> int:
    # `ru_maxrss` would include what the parent held when it made this process.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) // 1024


def _write_data(folder: Path, num_documents: int, *_: int) -> Figures:
    _write(folder / "documents.jsonl", synthetic_passages(num_documents))
    _write(folder / "augmentations.jsonl", map(_augmentation, synthetic_passages(num_documents)))
    return {"bytes": sum(file.stat().st_size for file in folder.glob("*.jsonl"))}


def _write(file: Path, records: Iterable[Record]) -> None:
    with records_file(file) as write:
        for record in records:
            write(record)


def _augmentation(document: Document) -> Augmentation:
    """Return a rewrite and three question-answer pairs of a document's own words."""
    words = document.text.split()
    pairs = [
        QuestionAnswer(
            question=" ".join(words[number : number + 8]),
            answer=words[number + 8],
            full_answer=" ".join(words[number : number + 9]),
        )
        for number in (0, 10, 20)
    ]
    rewrite = " ".join(reversed(words))
    return Augmentation(
        document_id=document.id, rewrites=[rewrite], qas=pairs, text_digest=text_digest(document)
    )


def _build_index(folder: Path, *_: int) -> Figures:
    index_dir = folder / "index"
    documents = read_records(folder / "documents.jsonl", Document)
    build_index(documents, index_dir, folder / "documents.jsonl")
    return {"bytes": _num_bytes(index_dir)}


def _ask_index(folder: Path, _: int, __: int, num_questions: int) -> Figures:
    opening = time.perf_counter()
    retriever = BM25Retriever(folder / "index")
    opened = time.perf_counter() - opening
    questions = synthetic_questions(num_questions)
    begin, start = time.perf_counter(), time.process_time()
    rankings = retriever.retrieve(questions, top_k=3)
    found = sum(
        question.document_ids[0] in {one.document_id for one in ranking}
        for question, ranking in zip(questions, rankings, strict=True)
    )
    return {
        "open_ms": 1e3 * opened,
        "ms_a_question": 1e3 * (time.perf_counter() - begin) / num_questions,
        "processor_ms_a_question": 1e3 * (time.process_time() - start) / num_questions,
        "recall_at_3": found / num_questions,
    }


def _plan(folder: Path, *_: int) -> Figures:
    data = DocumentDataModule(str(folder))
    data.setup("fit")
    planned_s = time.process_time()
    steps = data.encoding_steps(_NUM_SLOTS)
    begin = time.process_time()
    chosen = random.Random(0).sample(range(len(steps)), 20)
    tokens = sum(steps[index].num_tokens for index in chosen)
    return {
        "num_tasks": len(data.plan.tasks),
        "num_steps": len(steps),
        "schedule_processor_s": begin - planned_s,
        "processor_ms_a_step_of_32_prompts": 1e3 * (time.process_time() - begin) / len(chosen),
        "tokens_a_step": tokens / len(chosen),
    }


def _fill_store(folder: Path, num_documents: int, num_params: int, _: int) -> Figures:
    _fill(folder / "store", range(num_documents), num_params)
    return {"bytes": _num_bytes(folder / "store")}


def _fill(store_dir: Path, numbers: range, num_params: int) -> None:
    shutil.rmtree(store_dir, ignore_errors=True)
    recipe = synthetic_recipe(num_params)
    with open_store(store_dir, recipe, mode="write") as store:
        for ids, rows in synthetic_adapters(numbers, recipe, _BATCH):
            put(store, ids, rows)


def _open_stored(folder: Path, *_: int) -> Figures:
    start = time.perf_counter()
    with open_store(folder / "store", mode="read") as store:
        opened = time.perf_counter() - start
        return {"open_s": opened, "num_stored": len(store)}


def _list_stored(folder: Path, *_: int) -> Figures:
    with open_store(folder / "store", mode="read") as store:
        return {"num_listed": sum(1 for _ in store.documents())}


def _export_stored(folder: Path, *_: int) -> Figures:
    copy_dir = folder / "copy"
    shutil.rmtree(copy_dir, ignore_errors=True)
    with open_store(folder / "store", mode="read") as store:
        num_files = export_store(store, str(copy_dir))
    num_bytes = _num_bytes(copy_dir)
    shutil.rmtree(copy_dir)
    return {"num_files": num_files, "bytes": num_bytes}


def _status_of_stored(folder: Path, *_: int) -> Figures:
    with open_store(folder / "store", mode="read") as store:
        status = store_status(store)
    return {"num_writers": len(status.writers)}


def _merge_halves(folder: Path, num_documents: int, num_params: int, _: int) -> Figures:
    half = num_documents // 2
    folders = [folder / "half-0", folder / "half-1", folder / "merged"]
    for store_dir, numbers in zip(folders, (range(half), range(half, num_documents)), strict=False):
        _fill(store_dir, numbers, num_params)
    start, start_processor_s = time.perf_counter(), time.process_time()
    *sources, output = map(str, folders)
    num_merged = sum(1 for _ in merge_stores(sources, output))
    figures = {
        "num_merged": num_merged,
        "merge_alone_wall_s": time.perf_counter() - start,
        "merge_alone_processor_s": time.process_time() - start_processor_s,
    }
    for store_dir in folders:
        shutil.rmtree(store_dir, ignore_errors=True)
    return figures


def _verify_stored(folder: Path, *_: int) -> Figures:
    return {"num_damages": len(verify_store(folder / "store"))}


def _num_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in _files(folder))


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


_WORK: dict[Stage, Callable[..., Figures]] = {
    "data": _write_data,
    "index": _build_index,
    "ask": _ask_index,
    "plan": _plan,
    "fill": _fill_store,
    "open": _open_stored,
    "list": _list_stored,
    "export": _export_stored,
    "status": _status_of_stored,
    "verify": _verify_stored,
    "merge": _merge_halves,
}

if __name__ == "__main__":
    auto_cli(measure, as_positional=False)
