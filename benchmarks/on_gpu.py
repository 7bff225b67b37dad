"""Everything that a GPU is to show, in the order of its worth, within a few minutes.

python benchmarks/on_gpu.py --output results
python benchmarks/on_gpu.py --output results --device cpu --tiny true    # tries the program

Every stage runs in a process of its own with a time limit, and writes each figure to its file at
once: what hangs, or runs out of memory, costs that stage only. docs/development.md says how to
carry the program to a machine that nothing can be installed on.
"""

import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

# Allows running this file from any folder.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.encode import DeviceName
from benchmarks.gpu_commands import measure_real_model, measure_two_processes
from benchmarks.gpu_goals import goals
from benchmarks.gpu_stages import (
    Setting,
    measure_8b,
    measure_answering,
    measure_encoding,
    measure_machine,
    measure_quantized,
)
from benchmarks.measure import report, restart_tuned
from benchmarks.stage_results import StageResults, end_stage, read_stage

# Kept for the summary.
_LAST_SECONDS = 3.0
# Toy shapes are for a busy CPU, which may compile slowly.
_TINY_PATIENCE = 10


@dataclass(frozen=True)
class Stage:
    """One part of the measurement.

    Args:
        title: What it measures.
        seconds: Its time limit.
        measure: Measures it.
    """

    title: str
    seconds: float
    measure: Callable[[Setting, StageResults], None]


STAGES: Mapping[str, Stage] = {
    "a": Stage("matrix rate, and the host's time", 45, measure_machine),
    "b": Stage("encoding at Llama-3.2-1B's shape", 150, measure_encoding),
    "c": Stage("the same, compiled", 110, partial(measure_encoding, compile=True)),
    "d": Stage("answering at Llama-3.2-1B's shape", 75, measure_answering),
    "e": Stage("quantized bases against the CPU", 60, measure_quantized),
    "f": Stage("Llama-3.1-8B's shape in NF4", 75, measure_8b),
    "g": Stage("two processes on one device", 75, measure_two_processes),
    "h": Stage("SmolLM2 on real passages", 240, measure_real_model),
}


def run(
    output: Path = Path("on_gpu"),
    device: DeviceName = "cuda",
    tiny: bool = False,
    total_s: float = 600.0,
    stages: str = "abcdefgh",
    gguf: Path | None = None,
    squad: Path | None = None,
) -> None:
    """Run the stages one after another, and compare their figures with the goals.

    Args:
        output: Folder of the JSON files, one for each stage.
        device: Device to measure.
        tiny: Take toy shapes and ten times the time, to try the program itself.
        total_s: Time limit of all stages together, in seconds.
        stages: Letters of the stages, in this order.
        gguf: File of SmolLM2, for stage h.
        squad: Folder of real documents and questions, for stage h.

    Raises:
        ValueError: If stage h is to run on a real model that is not given.
    """
    if "h" in stages and not tiny and (gguf is None or squad is None):
        raise ValueError("stage h needs --gguf and --squad; give --stages abcdefg without them")
    end = time.monotonic() + total_s - _LAST_SECONDS
    output.mkdir(parents=True, exist_ok=True)
    setting = Setting(device, tiny, gguf, squad)
    context = _context(device)
    for letter in stages:
        limit = STAGES[letter].seconds * (_TINY_PATIENCE if tiny else 1)
        limit = min(limit, end - time.monotonic())
        run_stage(STAGES[letter], setting, output / f"{letter}.json", limit, context)
    found = {letter: read_stage(output / f"{letter}.json") for letter in stages}
    report("Stages", {}, [_row(letter, content) for letter, content in found.items()], None)
    report("Goals", {"device": device}, goals(found), str(output / "goals.json"))


def run_stage(
    stage: Stage, setting: Setting, file: Path, limit: float, context: BaseContext
) -> None:
    """Run a stage in a process of its own, and end it at its limit with all that it started.

    Args:
        stage: The stage.
        setting: What all stages share.
        file: JSON file of its figures.
        limit: Time limit in seconds.
        context: Makes the process.
    """
    StageResults(file, stage.title)
    start = time.monotonic()
    if limit < 1:
        end_stage(file, "not begun: no time was left", 0.0)
        return
    print(f"\n== {file.stem}: {stage.title}, at most {limit:.0f} s", flush=True)
    process = context.Process(target=_in_own_process, args=(stage, setting, file))  # type: ignore[attr-defined]
    process.start()
    try:
        process.join(limit)
        status = "ended at its time limit" if process.is_alive() else _status(file, process)
    finally:
        # Also what is left of the processes that it started.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.join()
    end_stage(file, status, time.monotonic() - start)


def _in_own_process(stage: Stage, setting: Setting, file: Path) -> None:
    os.setsid()
    results = StageResults(file, stage.title)
    try:
        stage.measure(setting, results)
    except Exception as error:
        traceback.print_exc()
        results.note(error=f"{type(error).__name__}: {error}")
        sys.exit(1)


def _status(file: Path, process: Any) -> str:
    if process.exitcode == 0:
        return "done"
    return f"failed: {read_stage(file).get('error', f'exit status {process.exitcode}')}"


def _context(device: DeviceName) -> BaseContext:
    """Return a context that forks, which saves the imports, or spawns where CUDA forbids that."""
    fork = multiprocessing.get_context("fork")
    if device == "cuda":
        probe = fork.Process(target=_use_cuda)
        probe.start()
        probe.join()
        if probe.exitcode != 0:
            return multiprocessing.get_context("spawn")
    return fork


def _use_cuda() -> None:
    import torch

    torch.zeros(1, device="cuda")


def _row(letter: str, content: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": letter,
        "what": content["title"],
        "status": content["status"],
        "figures": len(content["rows"]),
        "seconds": content["seconds"],
    }


if __name__ == "__main__":
    # A question about CUDA that does not keep forked processes from using it.
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    restart_tuned()
    from jsonargparse import auto_cli

    auto_cli(run)
