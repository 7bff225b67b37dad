"""Encoding documents: the published procedure, a careful loop and the bank, in turn.

python benchmarks/encode.py --size tiny --output encode.json
"""

import copy
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch

# Allows running this file from any folder.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.bank_encoder import BankEncoder
from benchmarks.measure import (
    Method,
    Row,
    describe,
    matrix_rate,
    now,
    report,
    restart_tuned,
    run_interleaved,
)
from benchmarks.published import PersistentLoop, encode_published, save_warm_start
from benchmarks.workload import (
    SIZES,
    Prompts,
    SizeName,
    encoding_flops,
    random_base,
    training_prompts,
    write_documents,
    write_tokenizer,
)
from prag_lightning.adapters.layout import LoraConfig

DeviceName = Literal["cpu", "cuda"]


@dataclass(frozen=True)
class Plan:
    """The workload of each method.

    Args:
        rounds: Number of rounds of each method.
        published: Documents per round of the published procedure.
        unpadded: Documents per round of the same without padding.
        persistent: Documents per round of the careful loop.
        slots: Numbers of slots of the banks; each encodes ``waves`` documents per slot, at least 4.
        waves: See ``slots``.
        compiled_slots: Numbers of slots of the banks over a compiled base.
        slow_rounds: Rounds of the published procedure, and of the bank with the most slots.
    """

    rounds: int
    published: int
    unpadded: int
    persistent: int
    slots: tuple[int, ...] = (1, 4, 16, 64)
    waves: int = 1
    compiled_slots: tuple[int, ...] = (4, 16)
    slow_rounds: int = 2


PLANS: dict[SizeName, Plan] = {
    "smoke": Plan(1, 1, 1, 2, slots=(1, 4), compiled_slots=(4,), slow_rounds=1),
    "tiny": Plan(7, 1, 4, 16, waves=2, slow_rounds=7),
    "medium": Plan(4, 1, 2, 4),
    "llama-1b": Plan(3, 2, 4, 8, waves=2, compiled_slots=(16, 32, 64), slow_rounds=3),
}


class EncodingBenchmark:
    """All methods for one size, on one device.

    Args:
        size_name: Size of the model, the documents and the plan.
        device: Device to run on.
        root: Folder for scratch files.
        compile: Also run banks over a compiled base.
    """

    def __init__(
        self, size_name: SizeName, device: torch.device, root: Path, compile: bool
    ) -> None:
        self.size, self.plan = SIZES[size_name], PLANS[size_name]
        self.device = device
        self.root = root
        self.tokenizer_dir = root / "tokenizer"
        write_tokenizer(self.size, self.tokenizer_dir)
        base, lora = random_base(self.size, device), LoraConfig()
        published = copy.deepcopy(base).float()
        self.published = save_warm_start(published, lora, root / "start")
        self.persistent = PersistentLoop(copy.deepcopy(base), lora)
        self.banks = {"": BankEncoder(base, self.tokenizer_dir)}
        if compile:
            self.banks["-compiled"] = BankEncoder(base, self.tokenizer_dir, compile=True)

    def methods(self) -> list[Method]:
        """Return all methods, each after one warm-up run."""
        plan = self.plan
        loops: list[tuple[str, Callable[[int], float], int, int]] = [
            ("published", self.run_published, plan.published, plan.slow_rounds),
            ("published_unpadded", self.run_unpadded, plan.unpadded, plan.rounds),
            ("persistent", self.run_persistent, plan.persistent, plan.rounds),
        ]
        for suffix, bank in self.banks.items():
            for slots in plan.slots if suffix == "" else plan.compiled_slots:
                rounds = plan.slow_rounds if slots == max(plan.slots) else plan.rounds
                documents = max(plan.waves * slots, 4)
                encode = partial(self.run_bank, bank, slots)
                loops.append((f"bank-{slots}{suffix}", encode, documents, rounds))
        for name, run, documents, rounds in loops:
            if rounds == plan.rounds:
                run(documents if "compiled" in name else 2)
        return [Method(name, partial(run, n), n, rounds) for name, run, n, rounds in loops]

    def row(self, method: Method, rates: dict[torch.dtype, list[float]]) -> Row:
        """Return a row of results, with the time relative to the machine's matrix rates."""
        seconds, lengths = method.seconds_per_item, self._lengths(method.num_items)
        dtype = torch.float32 if "published" in method.name else self.size.dtype
        flops = encoding_flops(self.size, lengths) / method.num_items
        return {
            "name": method.name,
            "dtype": str(dtype).removeprefix("torch."),
            "documents": method.num_items,
            "rounds": len(method.seconds),
            "tokens_per_document": sum(lengths) / method.num_items,
            "seconds_per_document": seconds,
            "documents_per_second": 1 / seconds,
            "fraction_of_limit": flops / seconds / torch.tensor(rates[dtype]).median().item(),
        }

    def run_published(self, documents: int, pad: bool = True) -> float:
        """Encode documents one by one, as published; return the seconds."""
        prompts = self._prompts(documents)
        start = now(self.device)
        for number, document in enumerate(prompts):
            self.published = encode_published(
                self.published,
                self.root / "start",
                document,
                self.root / f"published-{number}",
                self.size.pad_to if pad else None,
            )
        return now(self.device) - start

    def run_unpadded(self, documents: int) -> float:
        """Do the same without padding."""
        return self.run_published(documents, pad=False)

    def run_persistent(self, documents: int) -> float:
        """Encode documents with the careful loop; return the seconds."""
        prompts = self._prompts(documents)
        start = now(self.device)
        for number, document in enumerate(prompts):
            self.persistent.encode(document, self.root / f"persistent-{number}.safetensors")
        return now(self.device) - start

    def run_bank(self, bank: BankEncoder, slots: int, documents: int) -> float:
        """Encode documents with a bank of this many slots; return the seconds."""
        return bank.encode(slots, self._documents_dir(documents))

    def _documents_dir(self, documents: int) -> Path:
        folder = self.root / f"documents-{documents}"
        if not folder.exists():
            write_documents(self.size, documents, folder)
        return folder

    def _prompts(self, documents: int) -> list[Prompts]:
        return training_prompts(self._documents_dir(documents), self.tokenizer_dir)

    def _lengths(self, documents: int) -> list[int]:
        return [len(ids) for document in self._prompts(documents) for ids in document]


def with_ratios(rows: list[Row]) -> list[Row]:
    """Add the speed-ups over the published procedure and the loop to the rows."""
    seconds = {str(row["name"]): float(row["seconds_per_document"] or 0) for row in rows}
    return [
        {
            **row,
            "times_published": seconds["published"] / seconds[str(row["name"])],
            "times_persistent": seconds["persistent"] / seconds[str(row["name"])],
        }
        for row in rows
    ]


def run(
    size: SizeName = "tiny",
    device: DeviceName = "cpu",
    output: str | None = None,
    compile: bool = False,
) -> None:
    """Time all methods of encoding documents, and print a comparison.

    Times are CPU seconds of one thread on a CPU, and wall-clock seconds on a GPU.

    Args:
        size: Shape of the model, which has random weights.
        device: Device to run on.
        output: JSON file of the results.
        compile: Also run banks over a base compiled by ``torch.compile``.
    """
    where = torch.device(device)
    if device == "cpu":
        torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as root:
        benchmark = EncodingBenchmark(size, where, Path(root), compile)
        methods = benchmark.methods()
        rates: dict[torch.dtype, list[float]] = {torch.float32: [], SIZES[size].dtype: []}

        def measure_limit() -> None:
            for dtype, measured in rates.items():
                measured.append(matrix_rate(where, dtype))

        run_interleaved(methods, measure_limit)
        rows = with_ratios([benchmark.row(method, rates) for method in methods])
    best = max(float(row["fraction_of_limit"] or 0) for row in rows if "bank" in str(row["name"]))
    facts = {**describe(where), "size": size, "compile": compile, "fraction_of_limit": best}
    for dtype, measured in rates.items():
        facts[f"matrix_rate_{str(dtype).removeprefix('torch.')}"] = max(measured)
    report(f"Encoding, {size} on {device}", facts, rows, output)


if __name__ == "__main__":
    restart_tuned()
    from jsonargparse import auto_cli

    auto_cli(run)
