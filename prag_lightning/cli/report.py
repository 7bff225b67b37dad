"""The command ``prag report``: what runs left in their folders, as a page and as tables."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from prag_lightning.cli.exit_status import DONE

_DESCRIPTION = (
    "Write the scores of runs with intervals and differences, controls, what encoding took, the "
    "losses and norms of adapters, examples, and the recipe."
)


def run_report(args: Sequence[str]) -> int:
    """Run ``prag report`` and return its exit status."""
    parser = argparse.ArgumentParser("prag report", description=_DESCRIPTION)
    parser.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="root folder of `prag fit` and `prag test`; others are compared with the first",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="the page; tables in Markdown stand beside it (default: report.html in the first RUN)",
    )
    options = parser.parse_args(args)
    write_report(options.runs, options.output or options.runs[0] / "report.html")
    return DONE


def write_report(runs: Sequence[Path], page_file: Path) -> None:
    """Write the report of some runs: a page, and beside it tables in Markdown.

    Raises:
        FileNotFoundError: If nothing was run in one of the folders.
        ValueError: If a file there is damaged, or the page's name is that of its tables.
    """
    tables_file = page_file.with_suffix(".md")
    if tables_file == page_file:
        raise ValueError(f"{page_file}: is where the tables go; give the page a name in .html")
    from prag_lightning.evaluation.report.page import render
    from prag_lightning.evaluation.report.run_folder import read_run_folder

    page, tables = render([read_run_folder(run) for run in runs])
    page_file.parent.mkdir(parents=True, exist_ok=True)
    page_file.write_text(page, encoding="utf-8")
    tables_file.write_text(tables, encoding="utf-8")
    print(f"the report is in {page_file}, its tables in {tables_file}")
