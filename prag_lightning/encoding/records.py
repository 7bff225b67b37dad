"""Records of an encoding: every document's losses, and the cost of the run."""

import json
from collections.abc import Iterable
from pathlib import Path

from prag_lightning.documents.appending import append_lines
from prag_lightning.documents.records import Record

LOSSES_FILE, SUMMARY_FILE = "losses.jsonl", "fit.jsonl"


class DocumentLosses(Record):
    """One document's loss before each of its steps; a line of ``losses.jsonl``.

    A loss is None where it was not a finite number.
    """

    document_id: str
    losses: list[float | None]


class FitSummary(Record):
    """What one process of one run of ``prag fit`` did; a line of ``fit.jsonl``.

    Args:
        started: When training began, in ISO format.
        complete: Whether it ran to its end.
        process: Rank of the process.
        num_processes: Number of processes that encoded in parallel.
        device: Device that it ran on.
        num_slots: How many documents trained at once.
        num_documents: Documents that finished.
        num_steps: Optimizer steps of the whole bank.
        num_tokens: Tokens of prompts, without padding.
        padding: Share of padding among all tokens.
        seconds: Time from the first step until all adapters were written.
        documents_per_second: ``num_documents / seconds``.
        peak_memory: In bytes: of the GPU during training, or else of the whole process.
        version: Version of this package.
    """

    started: str
    complete: bool
    process: int
    num_processes: int
    device: str
    num_slots: int
    num_documents: int
    num_steps: int
    num_tokens: int
    padding: float
    seconds: float
    documents_per_second: float
    peak_memory: int
    version: str


def append_records(file: Path, records: Iterable[Record]) -> None:
    """Append records to a JSON Lines file; several processes may do so at once.

    Args:
        file: The file; created if missing.
        records: The records to append.
    """
    lines = "".join(json.dumps(r.model_dump(), ensure_ascii=False) + "\n" for r in records)
    append_lines(file, lines.encode())
