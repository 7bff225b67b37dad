"""Finds the runs of a report: single runs, and all runs of a sweep."""

from collections.abc import Sequence
from pathlib import Path

from prag_lightning.evaluation.report.run_folder import RunFolder, is_run, read_run_folder
from prag_lightning.evaluation.run_result import RESULT_FILE

_SWEEP = "sweep"


def read_runs(folders: Sequence[Path]) -> list[RunFolder]:
    """Return the runs in some folders, in order; those of a sweep are sorted by its settings.

    Args:
        folders: Root folders of runs or sweeps, or folders that ``prag sweep`` made in one.

    Raises:
        FileNotFoundError: If nothing was run in one of them.
        ValueError: If a file is damaged.
    """
    runs = []
    for folder in folders:
        swept = _swept(folder)
        if swept and not (is_run(folder) and folder.name != _SWEEP):
            runs += sorted((read_run_folder(one) for one in swept), key=_place)
        else:
            runs.append(read_run_folder(folder))
    return runs


def _swept(folder: Path) -> list[Path]:
    files = [*folder.glob(f"*/{RESULT_FILE}")] or [*folder.glob(f"{_SWEEP}/*/{RESULT_FILE}")]
    return sorted(file.parent for file in files)


def _place(run: RunFolder) -> list[tuple[bool, float, str]]:
    """Return a sort key for runs: the values of their settings, numbers by size."""
    assert run.result is not None
    return [axis_place(value) for value in run.result.swept.values()]


def axis_place(value: str) -> tuple[bool, float, str]:
    """Return a sort key for a value: numbers first, by size."""
    number = as_number(value)
    return number is None, number or 0.0, value


def as_number(value: str) -> float | None:
    """Return a setting as a number; None if it is not one.

    >>> as_number("3e-4"), as_number("anchored")
    (0.0003, None)
    """
    try:
        return float(value)
    except ValueError:
        return None
