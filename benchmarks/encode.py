"""Encoding documents: the published procedure, a careful loop, and the bank, interleaved in one process.

    python benchmarks/encode.py --size tiny --output encode.json
"""

import copy
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

# Run as a file, too, from anywhere.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from lightning import Callback, LightningModule, Trainer

from benchmarks.measure import (
    Method,
    Row,
    device_name,
    matrix_rate,
    now,
    report,
    restart_with_tuned_allocator,
    run_interleaved,
)
from benchmarks.published import PersistentLoop, encode_published, save_warm_start
from benchmarks.workload import (
    SIZES,
    Size,
    SizeName,
    encoding_flops,
    random_base,
    training_ids,
    write_documents,
    write_tokenizer,
)
from prag_lightning.adapters.bank import AdapterBank
from prag_lightning.callbacks import AdapterWriter, WarmStart
from prag_lightning.data.datamodule import DocumentDataModule
from prag_lightning.module import ParametricRAG

DeviceName = Literal["cpu", "cuda"]


@dataclass(frozen=True)
class Plan:
    """How much of each method a size is measured with.

    Args:
        rounds: In which every method takes part.
        published: Documents of the published procedure.
        unpadded: Of the same without padding.
        persistent: Of the careful loop.
        slots: Of the banks; each encodes ``waves`` times as many documents, 4 at least.
        waves: See ``slots``.
        slow_rounds: For the published procedure, and for the largest bank.
    """

    rounds: int
    published: int
    unpadded: int
    persistent: int
    slots: tuple[int, ...] = (1, 4, 16, 64)
    waves: int = 1
    slow_rounds: int = 100


PLANS: dict[SizeName, Plan] = {
    "smoke": Plan(1, 1, 1, 2, slots=(1, 4)),
    "tiny": Plan(7, 1, 4, 16, waves=2),
    "medium": Plan(4, 1, 2, 4, slow_rounds=2),
    "llama-1b": Plan(3, 2, 4, 8, slots=(1, 4, 16, 32, 64), waves=2),
}


class _Clock(Callback):
    """Takes the time from the first step to the last adapter on the disk."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.start = now(pl_module.device)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.seconds = now(pl_module.device) - self.start


class BankEncoder:
    """Our encoder, as ``prag fit`` runs it.

    Args:
        base: The model.
        tokenizer_dir: Its tokenizer.
        packed: Whether prompts stand in one row.
    """

    def __init__(self, base: torch.nn.Module, tokenizer_dir: Path, packed: bool) -> None:
        self.tokenizer_dir = tokenizer_dir
        self.packed = packed
        self.module = ParametricRAG(base=str(tokenizer_dir))
        self.module.base = base  # type: ignore[assignment]
        self.module.bank = AdapterBank(base, self.module.lora, 1)
        self.device = self.module.bank.weight.device

    def encode(self, num_slots: int, documents_dir: Path) -> float:
        """Encode all documents of a folder; return the seconds that it took."""
        self.module.num_slots = num_slots
        self.module.bank.resize(num_slots)
        clock = _Clock()
        with tempfile.TemporaryDirectory() as root:
            data = DocumentDataModule(
                str(documents_dir), base=str(self.tokenizer_dir), packed=self.packed
            )
            Trainer(
                accelerator=self.device.type,
                devices=1,
                max_epochs=1,
                logger=False,
                enable_checkpointing=False,
                enable_model_summary=False,
                enable_progress_bar=False,
                default_root_dir=root,
                callbacks=[WarmStart(), AdapterWriter(), clock],
            ).fit(self.module, data)
        # Lightning moves a model away when it is done.
        self.module.to(self.device)
        return clock.seconds


class _Bench:
    """All methods over one size, one device and one folder of scratch files."""

    def __init__(self, size_name: SizeName, device: torch.device, root: Path) -> None:
        self.size: Size = SIZES[size_name]
        self.plan = PLANS[size_name]
        self.device = device
        self.root = root
        write_tokenizer(self.size, root / "tokenizer")
        self.lengths: dict[int, list[int]] = {}

    def documents(self, number: int) -> tuple[Path, list[list[list[int]]]]:
        """Return a folder of so many documents, and the token ids of their prompts."""
        folder = self.root / f"documents-{number}"
        if not folder.exists():
            write_documents(self.size, number, folder)
        data = DocumentDataModule(str(folder), base=str(self.root / "tokenizer"))
        ids = training_ids(data)
        self.lengths[number] = [len(prompt) for document in ids for prompt in document]
        return folder, ids
