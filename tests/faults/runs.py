"""Real runs of ``prag fit`` in processes of their own, and what they leave behind."""

import itertools
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
from torch import Tensor

from prag_lightning.adapters.store.opening import open_store, verify_store
from prag_lightning.cli.main import main

# What a process does first, before it runs `prag fit`.
Trouble = Callable[[], None]


def nothing() -> None:
    """Let the run have no trouble."""


def die_at_write(number: int) -> None:
    """Kill this process with ``kill -9`` at its n-th write, flush, cut or rename."""
    calls = itertools.count(1)

    def dying(real: Callable[..., object], *args: object) -> object:
        if next(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args)

    for name in ("pwrite", "fsync", "ftruncate", "replace"):
        setattr(os, name, partial(dying, getattr(os, name)))


def small_files(num_bytes: int) -> None:
    """Let no file of this process grow further than this."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, num_bytes))


def slow_disk(seconds: float) -> None:
    """Let every flush to the disk take so long."""
    real = os.fsync

    def slow(descriptor: int) -> None:
        time.sleep(seconds)
        real(descriptor)

    setattr(os, "fsync", slow)  # noqa: B010


@dataclass
class Runs:
    """Starts runs of ``prag fit`` over one folder of documents, and kills them at the end."""

    context: ForkServerContext
    base_dir: Path
    world: Path
    log: Path
    processes: list[BaseProcess] = field(default_factory=list)

    def start(
        self, root: Path, num_slots: int = 1, *options: str, trouble: Trouble = nothing
    ) -> BaseProcess:
        """Start a run with its files below ``root``."""
        words = [
            *("fit", "--trainer.accelerator", "cpu", "--trainer.default_root_dir", str(root)),
            *("--model.base", str(self.base_dir), "--model.num_slots", str(num_slots)),
            *("--data.folder", str(self.world), "--model.lr", "0.003", *options),
        ]
        process = self.context.Process(target=_fit, args=(words, self.log, trouble))
        process.start()
        self.processes.append(process)
        return process

    def status(self, root: Path, num_slots: int = 1, *options: str, **more: Trouble) -> int | None:
        """Return the exit status of a run, negative for a signal."""
        process = self.start(root, num_slots, *options, **more)
        process.join()
        return process.exitcode

    @property
    def said(self) -> str:
        """What all runs said so far."""
        return self.log.read_text()


def _fit(words: list[str], log: Path, trouble: Trouble) -> None:
    torch.set_num_threads(1)
    with log.open("a") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    trouble()
    sys.exit(main(words))


def stored(store_dir: Path) -> dict[str, Tensor]:
    """Return the whole adapters of a store, which must be undamaged."""
    if not (store_dir / "manifest.json").exists():
        return {}
    with open_store(store_dir, mode="read") as store:
        assert not [damage for damage in verify_store(store_dir) if not damage.harmless]
        ids = sorted(store.ids())
        return dict(zip(ids, store.get_many(ids), strict=True))


def wait_for_adapters(store_dir: Path, count: int, process: BaseProcess) -> None:
    """Wait until a store holds ``count`` adapters."""
    while process.is_alive() and not list(store_dir.glob("**/*.safetensors")):
        time.sleep(0.01)
    while process.is_alive() and len(stored(store_dir)) < count:
        time.sleep(0.01)


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    """Assert that two stores hold the same adapters."""
    assert found.keys() == expected.keys()
    for document_id, row in expected.items():
        torch.testing.assert_close(found[document_id], row, rtol=0, atol=tolerance)
