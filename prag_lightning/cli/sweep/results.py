"""What the runs of a sweep came to: a row each, in a file and on the terminal."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel
from rich import box
from rich.table import Table

from prag_lightning.cli.sweep.axes import short_keys
from prag_lightning.documents.writing import write_whole
from prag_lightning.evaluation.scores import ALL_TYPES, Score

DONE_STATUS = "done"
_RESULT_FILE = "result.json"
_SHOWN = ("em", "f1", "answer_nll")


class RunResult(BaseModel):
    """What one run came to; ``result.json`` in its folder.

    Args:
        digest: Of all settings of the run.
        swept: The settings that are its own.
        status: ``done``, or what went wrong.
        fit_seconds: What encoding took; None where another run had encoded the same.
        test_seconds: What answering took.
        scores: Of every method, over all questions and over each type.
    """

    digest: str
    swept: dict[str, str]
    status: str
    fit_seconds: float | None = None
    test_seconds: float | None = None
    scores: list[Score] = []


def read_result(folder: Path, digest: str) -> RunResult | None:
    """Return the result in a run's folder if the run was done, with settings of this digest."""
    file = folder / _RESULT_FILE
    if not file.is_file():
        return None
    result = RunResult.model_validate_json(file.read_bytes())
    return result if (result.digest, result.status) == (digest, DONE_STATUS) else None


def write_result(folder: Path, result: RunResult) -> None:
    """Write the result of a run into its folder."""
    write_whole(folder / _RESULT_FILE, (result.model_dump_json(indent=1) + "\n").encode())


def read_scores(folder: Path) -> list[Score]:
    """Return the scores that ``prag test`` left in a folder."""
    rows = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    return [Score(**{"answer_nll": None, **row}) for row in rows]


def write_table(file: Path, results: Sequence[RunResult]) -> None:
    """Write a row for every run as CSV; scores are ``METHOD.em``, and ``METHOD.TYPE.em``."""
    rows = [_row(result) for result in results]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(file, text.getvalue().encode())


def _row(result: RunResult) -> dict[str, str]:
    row = {**result.swept, "status": result.status}
    for name in ("fit_seconds", "test_seconds"):
        seconds = getattr(result, name)
        row[name] = "" if seconds is None else f"{seconds:.1f}"
    for score in result.scores:
        group = score.method if score.type == ALL_TYPES else f"{score.method}.{score.type}"
        for name in _SHOWN:
            value = getattr(score, name)
            row[f"{group}.{name}"] = "" if value is None else f"{value:.4f}"
    return row


def result_table(results: Sequence[RunResult]) -> Table:
    """Return a row for every run: exact match of each method over all questions."""
    table = Table(header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in short_keys(list(results[0].swept)).values():
        table.add_column(name)
    methods = list(dict.fromkeys(s.method for result in results for s in result.scores))
    for name in (*methods, "seconds"):
        table.add_column(name, justify="right")
    for result in results:
        em = {score.method: score.em for score in result.scores if score.type == ALL_TYPES}
        seconds = (result.fit_seconds or 0.0) + (result.test_seconds or 0.0)
        cells = [f"{em[method]:.3f}" if method in em else "" for method in methods]
        table.add_row(*result.swept.values(), *cells, f"{seconds:.0f}")
    return table
