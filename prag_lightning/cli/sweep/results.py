"""The table of a sweep: a row for every run, in a file and on the terminal."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.table import Table

from prag_lightning.documents.records import read_records
from prag_lightning.documents.terminal import plain_text
from prag_lightning.documents.writing import write_whole
from prag_lightning.evaluation.report.comparison import Columns
from prag_lightning.evaluation.report.statistics import LEVEL, Interval, column_intervals
from prag_lightning.evaluation.results import PREDICTIONS_FILE
from prag_lightning.evaluation.run_result import RunResult
from prag_lightning.evaluation.scores import ALL_TYPES, Prediction
from prag_lightning.evaluation.setting_names import short_keys

_SHOWN = ("em", "f1", "answer_nll")
_SHARE = f"half of its {LEVEL:.0%} interval, by bootstrap over questions"


def write_table(file: Path, results: Sequence[RunResult]) -> None:
    """Write a row for every run as CSV; scores are ``METHOD.em``, and ``METHOD.TYPE.em``.

    Args:
        file: The file, which is replaced.
        results: The results of the runs.
    """
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


def result_table(results: Sequence[RunResult], folders: Sequence[Path]) -> Table:
    """Return a table with a row for every run: exact match of each method over all questions.

    Args:
        results: The results of the runs.
        folders: The folder of each, where its predictions are.
    """
    table = Table(header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    table.title = "Exact match over all questions"
    table.caption = f"\u00b1 is {_SHARE}"
    table.title_justify = table.caption_justify = "left"
    for name in short_keys(list(results[0].swept)).values():
        table.add_column(plain_text(name))
    methods = list(dict.fromkeys(s.method for result in results for s in result.scores))
    for name in (*methods, "seconds"):
        table.add_column(plain_text(name), justify="right")
    for result, folder in zip(results, folders, strict=True):
        seconds = (result.fit_seconds or 0.0) + (result.test_seconds or 0.0)
        em = _exact_match(result, folder)
        cells = [em.get(method, "") for method in methods]
        table.add_row(*map(plain_text, result.swept.values()), *cells, f"{seconds:.0f}")
    return table


def _exact_match(result: RunResult, folder: Path) -> dict[str, str]:
    """Return the exact match of each method, with half the width of its interval."""
    file = folder / PREDICTIONS_FILE
    intervals: dict[str, Interval] = {}
    if result.scores and file.is_file():
        columns = Columns(list(read_records(file, Prediction)))
        em = {method: columns.get(method, ALL_TYPES, "em") for method in columns.methods}
        intervals = column_intervals(em)
    return {
        score.method: f"{score.em:.3f}" + _margin(intervals.get(score.method))
        for score in result.scores
        if score.type == ALL_TYPES
    }


def _margin(interval: Interval | None) -> str:
    return "" if interval is None else f" \u00b1{(interval.high - interval.low) / 2:.2f}"
