"""What ``on_gpu.py`` measures by running ``prag``: two processes on one GPU, and a real model."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.gpu_stages import Setting
from benchmarks.stage_results import StageResults
from benchmarks.workload import SIZES, random_base, write_documents, write_tokenizer
from prag_lightning.adapters.store.opening import open_store
from prag_lightning.adapters.warm_start import random_adapter
from prag_lightning.demo.world import write_world
from prag_lightning.documents.records import read_records
from prag_lightning.encoding.records import SUMMARY_FILE, FitSummary
from prag_lightning.evaluation.results import SCORES_FILE, read_scores


def measure_two_processes(setting: Setting, results: StageResults) -> None:
    """Encode the same documents in one process and in two that share the device.

    Args:
        setting: What all stages share.
        results: Where the figures go.
    """
    size = SIZES[setting.size]
    slots, num_documents = (2, 8) if setting.tiny else (16, 64)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_tokenizer(size, root / "base")
        random_base(size, setting.where).save_pretrained(root / "base")
        if setting.device == "cuda":
            torch.cuda.empty_cache()
        write_documents(size, num_documents, root / "documents")
        words = [
            *("fit", "--trainer.accelerator", _accelerator(setting)),
            *("--model.base", str(root / "base"), "--model.num_slots", str(slots)),
            *("--data.folder", str(root / "documents")),
        ]
        found = []
        for number in (1, 2):
            run_dir = root / f"run-{number}"
            start = time.perf_counter()
            _fit_in(number, [*words, "--trainer.default_root_dir", str(run_dir)])
            wall = time.perf_counter() - start
            summaries = list(read_records(run_dir / SUMMARY_FILE, FitSummary))
            encoding = max(summary.seconds for summary in summaries)
            results.add(
                {
                    "name": f"processes-{number}",
                    "documents": sum(summary.num_documents for summary in summaries),
                    "documents_per_second": num_documents / encoding,
                    "wall_seconds": wall,
                }
            )
            found.append(_changes(run_dir))
    difference = float((found[1] - found[0]).norm() / found[0].norm())
    results.note(difference_of_change=difference)


def measure_real_model(setting: Setting, results: StageResults) -> None:
    """Encode real passages with SmolLM2 by its recipe, and answer their questions.

    Args:
        setting: What all stages share.
        results: Where the figures go.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        if setting.tiny:
            write_world(root / "world", num_people=4)
            words = ["--config", "demo", "--data.folder", str(root / "world")]
        else:
            words = ["--config", "smollm2", "--data.folder", str(setting.squad)]
            words += ["--model.base", str(setting.gguf), "--model.num_slots", "32"]
            words += ["--data.question_batch_size", "128"]
        words += ["--trainer.accelerator", _accelerator(setting)]
        words += ["--trainer.default_root_dir", str(root / "run")]
        seconds = _timed(["fit", *words])
        (summary,) = read_records(root / "run" / SUMMARY_FILE, FitSummary)
        results.add({"name": "fit", "wall_seconds": seconds, **summary.model_dump()})
        methods = "closed_book,own,other,rag_gold,rag,prag,combine"
        seconds = _timed(["test", *words, "--data.methods", methods])
        results.add({"name": "test", "wall_seconds": seconds})
        for score in read_scores(root / "run" / SCORES_FILE).scores:
            results.add({"name": "score", **json.loads(score.model_dump_json(exclude_none=True))})


def _accelerator(setting: Setting) -> str:
    return "gpu" if setting.device == "cuda" else "cpu"


def _timed(words: Sequence[str]) -> float:
    start = time.perf_counter()
    subprocess.run(_prag(words), check=True)
    return time.perf_counter() - start


def _prag(words: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "prag_lightning", *words]


def _fit_in(num_processes: int, words: Sequence[str]) -> None:
    """Run a command in several processes, as torchrun would start one on each of as many nodes."""
    if num_processes == 1:
        subprocess.run(_prag(words), check=True)
        return
    strategy = ["--trainer.strategy", "per_document", "--trainer.devices", "1"]
    strategy += ["--trainer.num_nodes", str(num_processes)]
    processes = []
    for rank in range(num_processes):
        told = {
            **{"TORCHELASTIC_RUN_ID": "on_gpu", "MASTER_ADDR": "127.0.0.1"},
            # Nobody listens there; it names the run.
            **{"MASTER_PORT": str(os.getpid()), "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"},
            **{"GROUP_RANK": str(rank), "RANK": str(rank), "WORLD_SIZE": str(num_processes)},
        }
        command = _prag([*words, *strategy])
        processes.append(subprocess.Popen(command, env={**os.environ, **told}))
    statuses = [process.wait() for process in processes]
    if any(statuses):
        raise RuntimeError(f"the processes ended with the statuses {statuses}")


def _changes(run_dir: Path) -> Tensor:
    """Return what training changed of all adapters, in the order of their documents."""
    with open_store(run_dir / "adapters", mode="read") as store:
        return store.get_many(sorted(store.ids())) - random_adapter(store.layout, 0)
