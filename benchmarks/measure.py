"""Clocks, the machine's peak rate, and the report of a benchmark."""

import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

_ENVIRONMENT = {
    # glibc would return large blocks to the system after every use, and fault each page again.
    "MALLOC_MMAP_THRESHOLD_": str(2**32),
    "MALLOC_TRIM_THRESHOLD_": str(2**33),
    "MALLOC_TOP_PAD_": str(2**28),
    # PEFT asks the hub for the base model's config whenever it saves.
    "HF_HUB_OFFLINE": "1",
}


def restart_tuned() -> None:
    """Restart this program in the environment above, unless it already runs in it."""
    if any(name not in os.environ for name in _ENVIRONMENT):
        os.environ.update(_ENVIRONMENT)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def now(device: torch.device) -> float:
    """Return CPU seconds of this process, or for a GPU, wall-clock seconds after synchronizing."""
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def matrix_rate(device: torch.device, dtype: torch.dtype, size: int | None = None) -> float:
    """Return the operations per second of a matrix product; a multiply-add counts as two."""
    size = size or (1024 if device.type == "cpu" else 8192)
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    torch.mm(left, right)
    times = []
    for _ in range(5):
        start = now(device)
        torch.mm(left, right)
        times.append(now(device) - start)
    return 2 * size**3 / median(times)


def describe(device: torch.device) -> dict[str, Any]:
    """Return the hardware and the versions of libraries."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
        name = f"{next(models, platform.machine())}, {torch.get_num_threads()} thread"
    versions = {package: metadata.version(package) for package in ("torch", "transformers", "peft")}
    return {"device": name, **versions}


@dataclass
class Method:
    """A method to time.

    Args:
        name: Name in the table.
        run: Runs it once, for ``num_items`` items, and returns the seconds.
        num_items: Number of documents or questions.
        rounds: Number of rounds; few for slow methods.
    """

    name: str
    run: Callable[[], float]
    num_items: int
    rounds: int
    seconds: list[float] = field(default_factory=list)

    @property
    def seconds_per_item(self) -> float:
        """Median over the rounds."""
        return median(self.seconds) / self.num_items


def run_interleaved(methods: Sequence[Method], each_round: Callable[[], None]) -> None:
    """Run all methods in turn, round after round, so that slow phases affect all alike."""
    for number in range(max(method.rounds for method in methods)):
        each_round()
        for method in methods:
            if number < method.rounds:
                method.seconds.append(method.run())
                print(f"{method.name}: {method.seconds[-1] / method.num_items:.5f} s", flush=True)


Row = Mapping[str, str | float | int | None]


def report(title: str, facts: Mapping[str, Any], rows: Sequence[Row], output: str | None) -> None:
    """Print rows as a table, and write them with ``facts`` as JSON to ``output``."""
    table = Table(title=title)
    for column in rows[0]:
        table.add_column(column.replace("_", " "), justify="left" if column == "name" else "right")
    for row in rows:
        table.add_row(*(_shown(value) for value in row.values()))
    Console(width=160).print(table)
    print(", ".join(f"{name} {_shown(value)}" for name, value in facts.items()))
    if output is not None:
        content = {**facts, "rows": [dict(row) for row in rows]}
        Path(output).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
