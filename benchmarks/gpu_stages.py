"""What ``on_gpu.py`` measures in this process: the machine, encoding and answering."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from benchmarks.answer import AnsweringBenchmark
from benchmarks.bank_encoder import BankEncoder
from benchmarks.encode import DeviceName, EncodingBenchmark, with_ratios
from benchmarks.measure import Method, Row, describe, matrix_rate, now
from benchmarks.quantized import LLAMA_8B, TINY_8B, compare_with_cpu, nf4_base
from benchmarks.stage_results import StageResults
from benchmarks.workload import (
    SIZES,
    Size,
    SizeName,
    encoding_flops,
    random_base,
    training_prompts,
    write_documents,
    write_tokenizer,
)

# Llama-3.2-1B's depth, and next to no arithmetic: the time of a step is the host's.
NARROW = Size(16, 16, 32, 2, 1, 2000, shortest=10, longest=40, pad_to=100)
_GIB = 2**30


@dataclass(frozen=True)
class Setting:
    """What all stages share.

    Args:
        device: Where to measure.
        tiny: Take toy shapes, to try the program itself.
        gguf: SmolLM2's file, for the last stage.
        squad: Folder of the real documents and questions, for the last stage.
    """

    device: DeviceName
    tiny: bool
    gguf: Path | None = None
    squad: Path | None = None

    @property
    def where(self) -> torch.device:
        """The device as torch names it."""
        return torch.device(self.device)

    @property
    def size(self) -> SizeName:
        """The shape of the base model."""
        return "smoke" if self.tiny else "llama-1b"


def measure_machine(setting: Setting, results: StageResults) -> None:
    """Measure matrix products, and the host's time for a document's step in 32 slots.

    Args:
        setting: What all stages share.
        results: Where the figures go.
    """
    where = setting.where
    results.note(**describe(where))
    side = 64 if setting.tiny else None
    for dtype in (torch.bfloat16, torch.float32):
        rate = matrix_rate(where, dtype, side)
        results.add({"name": str(dtype).removeprefix("torch."), "flops_per_second": rate})
    size, slots = (SIZES["smoke"], 4) if setting.tiny else (NARROW, 32)
    with tempfile.TemporaryDirectory() as root:
        encoder, documents = _bank_encoder(size, where, Path(root), 2 * slots)
        encoder.packed = False
        encoder.encode(slots, documents)
        seconds = encoder.encode(slots, documents)
    # Five prompts a document.
    host_ms = 1e3 * seconds / (2 * slots * 5)
    results.add({"name": "host", "slots": slots, "host_ms_per_document_step": host_ms})


def measure_encoding(setting: Setting, results: StageResults, compile: bool = False) -> None:
    """Time banks of rows and of packed prompts, a careful PEFT loop, and the published procedure.

    Args:
        setting: What all stages share.
        results: Where the figures go.
        compile: Time banks over a compiled base only.
    """
    where, rows = setting.where, list[Row]()
    rates = {dtype: [_rate(setting, dtype)] for dtype in {torch.float32, SIZES[setting.size].dtype}}
    with tempfile.TemporaryDirectory() as root:
        bench = EncodingBenchmark(setting.size, where, Path(root), compile)
        results.note(**describe(where), size=setting.size)
        for warm_up, method in _methods(setting, bench, compile):
            started = now(where)
            warm_up()
            first_seconds = now(where) - started
            if where.type == "cuda":
                torch.cuda.reset_peak_memory_stats(where)
            method.seconds.append(method.run())
            figures = bench.row(method, rates)
            tokens = float(figures["tokens_per_document"] or 0) / method.seconds_per_item
            more = {"tokens_per_second": tokens, "peak_gib": _peak_gib(where)}
            rows.append({**figures, **more, "first_seconds": first_seconds})
            results.add(rows[-1])
    if not compile:
        # With the ratios, which are known only now.
        results.note(rows=with_ratios(rows))


def _methods(
    setting: Setting, bench: EncodingBenchmark, compile: bool
) -> list[tuple[Callable[[], float], Method]]:
    """Return warm-up and measurement of each method, those of most worth first."""
    bank = bench.banks["-compiled" if compile else ""]
    slots = (4, 2) if setting.tiny else (32, 64) if compile else (32, 64, 16, 8)
    found: list[tuple[Callable[[], float], Method]] = []

    def add(name: str, run: Callable[[int], float], num_documents: int, num_first: int) -> None:
        method = Method(name, partial(run, num_documents), num_documents, 1)
        found.append((partial(run, num_first), method))

    def encode(packed: bool, slots: int, documents: int) -> float:
        bank.packed = packed
        return bench.run_bank(bank, slots, documents)

    for number in slots:
        add(f"bank-{number}-rows", partial(encode, False, number), 2 * number, number)
        if number == slots[0] and not compile:
            add("persistent", bench.run_persistent, 2 if setting.tiny else 8, 1)
            add("published", bench.run_published, 1 if setting.tiny else 3, 1)
    for number in () if compile else slots:
        add(f"bank-{number}-packed", partial(encode, True, number), 2 * number, number)
    return found


def measure_answering(setting: Setting, results: StageResults) -> None:
    """Time answers from three merged adapters in batches, and by the published loop.

    Args:
        setting: What all stages share.
        results: Where the figures go.
    """
    num_questions, batches = (8, (1, 4)) if setting.tiny else (256, (32, 128, 1))
    num_published = 2 if setting.tiny else 8
    with tempfile.TemporaryDirectory() as root:
        bench = AnsweringBenchmark(setting.size, setting.where, Path(root), num_questions)
        results.note(**describe(setting.where), size=setting.size)
        published: dict[str, str] = {}
        bench.answer_published(1, {})
        seconds = bench.answer_published(num_published, published) / num_published
        results.add({"name": "published", "seconds_per_question": seconds, "times_published": 1.0})
        for size in batches:
            # One by one, some are enough.
            asked = num_published if size == 1 else num_questions
            texts: dict[str, str] = {}
            bench.answer_with_bank(size, {}, size)
            own = bench.answer_with_bank(size, texts, asked) / len(texts)
            results.add(
                {
                    "name": f"bank-batch-{size}",
                    "questions": len(texts),
                    "seconds_per_question": own,
                    "times_published": seconds / own,
                    # bfloat16 against float32: other answers need not be wrong.
                    "as_published": sum(texts.get(q) == text for q, text in published.items()),
                    "compared": len(published),
                }
            )


def measure_quantized(setting: Setting, results: StageResults) -> None:
    """Compare adapters over quantized bases on the device with those of the CPU.

    Args:
        setting: What all stages share.
        results: Where the figures go.
    """
    size = SIZES["smoke" if setting.tiny else "medium"]
    with tempfile.TemporaryDirectory() as root:
        for quantization in ("nf4", "int8"):
            results.add(compare_with_cpu(size, quantization, setting.where, Path(root)))


def measure_8b(setting: Setting, results: StageResults) -> None:
    """Encode over a base of Llama-3.1-8B's shape in NF4, and measure its memory.

    Args:
        setting: What all stages share.
        results: Where the figures go.
    """
    where, size = setting.where, TINY_8B if setting.tiny else LLAMA_8B
    rate = _rate(setting, torch.bfloat16)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_tokenizer(size, root / "tokenizer")
        base = nf4_base(size, where)
        results.note(**describe(where), base_gib=_held_gib(where))
        encoder = BankEncoder(base, root / "tokenizer")
        encoder.packed = False
        for slots in (2,) if setting.tiny else (8, 16, 4):
            documents = root / f"documents-{slots}"
            write_documents(size, 2 * slots, documents)
            if where.type == "cuda":
                torch.cuda.reset_peak_memory_stats(where)
            encoder.encode(slots, documents)
            seconds = encoder.encode(slots, documents) / (2 * slots)
            prompts = training_prompts(documents, root / "tokenizer")
            lengths = [len(ids) for document in prompts for ids in document]
            flops = encoding_flops(size, lengths) / (2 * slots)
            results.add(
                {
                    "name": f"bank-{slots}-rows",
                    "documents_per_second": 1 / seconds,
                    "tokens_per_second": sum(lengths) / (2 * slots) / seconds,
                    "fraction_of_limit": flops / seconds / rate,
                    "peak_gib": _peak_gib(where),
                }
            )


def _bank_encoder(
    size: Size, where: torch.device, root: Path, num_documents: int
) -> tuple[BankEncoder, Path]:
    write_tokenizer(size, root / "tokenizer")
    write_documents(size, num_documents, root / "documents")
    return BankEncoder(random_base(size, where), root / "tokenizer"), root / "documents"


def _rate(setting: Setting, dtype: torch.dtype) -> float:
    return matrix_rate(setting.where, dtype, 64 if setting.tiny else None)


def _held_gib(where: torch.device) -> float | None:
    return torch.cuda.memory_allocated(where) / _GIB if where.type == "cuda" else None


def _peak_gib(where: torch.device) -> float | None:
    return torch.cuda.max_memory_allocated(where) / _GIB if where.type == "cuda" else None
