"""A small recipe, adapters for it, and stores of them, for the tests of the store."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import torch
from torch import Tensor

from prag_lightning.adapters.layout import LoraConfig
from prag_lightning.adapters.store import lock_file
from prag_lightning.adapters.store.opening import AdapterStore, Damage, open_store, verify_store
from prag_lightning.adapters.store.recipe import Recipe, StoreDtype

RECIPE = Recipe(
    base_model="tiny/llama",
    base_digest="0123",
    lora=LoraConfig(rank=2, alpha=32.0, target_modules=("down_proj", "gate_proj")),
    modules=(("model.layers.0.mlp.gate_proj", 6, 10), ("model.layers.0.mlp.down_proj", 10, 6)),
    warm_start="random:0",
    training={"lr": 3e-4, "passes": 1, "quantization": None},
    prompt_version="1",
)
LAYOUTS: list[str] = ["packed", "peft"]
FORMS: list[tuple[str, StoreDtype]] = [
    ("packed", "float32"),
    ("packed", "bfloat16"),
    ("packed", "float16"),
    ("packed", "int8"),
    ("peft", "float32"),
    ("peft", "bfloat16"),
    ("peft", "float16"),
]


def adapters(num_documents: int, seed: int = 0) -> Tensor:
    """Return random adapters, shape ``(num_documents, num_params)``."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_documents, RECIPE.layout.num_params, generator=generator)


def names(num_documents: int) -> list[str]:
    return [f"doc {number}" for number in range(num_documents)]


def damages(folder: Path | str) -> list[Damage]:
    """Return what is wrong in a store, without what is harmless."""
    return [damage for damage in verify_store(folder) if not damage.harmless]


def put(store: AdapterStore, document_id: str, row: Tensor, text_digest: str) -> None:
    """Store one adapter, shape ``(num_params,)``."""
    store.put_many([document_id], row[None], [text_digest])


def fill(
    folder: Path, num_documents: int, layout: str = "packed", writer: int = 0, seed: int = 0
) -> Tensor:
    """Write a store of ``doc 0``, ``doc 1``, ... as one of its writers; return their adapters."""
    rows = adapters(num_documents, seed)
    prefix = f"writer {writer} " if writer else ""
    ids = [prefix + name for name in names(num_documents)]
    with ExitStack() as others:
        for _ in range(writer):
            others.enter_context(open_store(folder, RECIPE, layout=layout, mode="write"))
        store = others.enter_context(open_store(folder, RECIPE, layout=layout, mode="write"))
        assert store.writer == writer
        for document_id, row in zip(ids, rows, strict=True):
            put(store, document_id, row, f"text of {document_id}")
    return rows


class Killed(BaseException):
    """The process is dead: nothing it does from now on reaches a file."""


@contextmanager
def killed_at(call: int, *, power_cut: bool = False) -> Iterator[SimpleNamespace]:
    """Let the process die at its n-th write, flush, cut or rename, in the middle of it.

    Args:
        call: Which one; the block ends without a word if there are not as many.
        power_cut: What was not flushed to the disk is lost as well.
    """
    disk = _DyingDisk(call, power_cut)
    outcome = SimpleNamespace(died=False)
    with disk.installed():
        try:
            yield outcome
        except Killed:
            outcome.died = True
    # The kernel gives the locks of a dead process back.
    lock_file.let_go()
    if outcome.died:
        _close_temporary_files()


def _close_temporary_files() -> None:
    for descriptor in os.listdir("/proc/self/fd"):
        # The list itself is among them, and closed by now.
        with suppress(FileNotFoundError):
            if os.readlink(f"/proc/self/fd/{descriptor}").endswith(".tmp"):
                os.close(int(descriptor))


class _DyingDisk:
    def __init__(self, call: int, power_cut: bool) -> None:
        self._calls_left = call
        self._power_cut = power_cut
        self._dead = False
        # What was there before each write that is not flushed: file, offset, bytes, size.
        self._unflushed: list[tuple[str, int, bytes, int]] = []
        self._real = {name: getattr(os, name) for name in ("pwrite", "fsync", "ftruncate")}

    @contextmanager
    def installed(self) -> Iterator[None]:
        with ExitStack() as stack:
            for name in ("ftruncate", "truncate", "replace", "unlink", "rmdir"):
                real = getattr(os, name)
                stack.enter_context(patch.object(os, name, partial(self._call, real)))
            stack.enter_context(patch.object(os, "pwrite", self._pwrite))
            stack.enter_context(patch.object(os, "fsync", self._fsync))
            yield

    def _call(self, real: Callable[..., None], *args: object, **options: object) -> None:
        self._count()
        real(*args, **options)

    def _pwrite(self, descriptor: int, data: bytes, offset: int) -> int:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        size = os.fstat(descriptor).st_size
        if not self._dead:
            before = os.pread(descriptor, len(data), offset)
            self._unflushed.append((path, offset, before, size))
        half = bytes(data)[: len(data) // 2]
        self._count(lambda: self._real["pwrite"](descriptor, half, offset))
        written: int = self._real["pwrite"](descriptor, data, offset)
        return written

    def _fsync(self, descriptor: int) -> None:
        self._count()
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        self._unflushed = [write for write in self._unflushed if write[0] != path]

    def _count(self, at_death: Callable[[], object] = lambda: None) -> None:
        if self._dead:
            raise Killed
        self._calls_left -= 1
        if self._calls_left == 0:
            self._dead = True
            at_death()
            if self._power_cut:
                self._lose_unflushed()
            raise Killed

    def _lose_unflushed(self) -> None:
        for path, offset, before, size in reversed(self._unflushed):
            descriptor = os.open(path, os.O_RDWR)
            self._real["pwrite"](descriptor, before, offset)
            self._real["ftruncate"](descriptor, size)
            os.close(descriptor)
