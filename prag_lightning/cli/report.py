"""The command ``prag report``: results of runs as a page, tables and figures."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from prag_lightning.cli.exit_status import DONE
from prag_lightning.cli.words_parser import WordsParser

if TYPE_CHECKING:
    from prag_lightning.evaluation.report.statistics import Resample

_DESCRIPTION = """\
Write a report of runs: whether the documents got into the weights, scores with intervals and
differences, controls, what answers and encoding cost, losses and norms of adapters, examples, and
the recipe. Several runs, or a sweep, are compared first.

The page stands by itself. Beside it come its tables in Markdown (.md) and LaTeX (.tex), and its
figures as SVG and PDF in a folder of their own.
"""


def run_report(args: Sequence[str]) -> int:
    """Run ``prag report`` and return its exit status."""
    parser = WordsParser(
        "prag report",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="root folder of `prag fit` and `prag test`, or of `prag sweep` for all its runs",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="the page (default: report.html in the first RUN)",
    )
    parser.add_argument(
        "--resample",
        choices=["questions", "documents"],
        default="questions",
        help="what is drawn anew for intervals: single questions, or documents with all questions "
        "about them, which depend on each other (default: questions)",
    )
    options = parser.parse_args(args)
    page_file = options.output or options.runs[0] / "report.html"
    write_report(options.runs, page_file, options.resample)
    return DONE


def write_report(
    folders: Sequence[Path], page_file: Path, resample: "Resample" = "questions"
) -> None:
    """Write the report of some runs: a page, with tables and figures beside it.

    Args:
        folders: Root folders of runs or sweeps.
        page_file: File of the page; the other files' names begin with its name.
        resample: What to resample for intervals.

    Raises:
        FileNotFoundError: If nothing was run in one of the folders.
        ValueError: If a file there is damaged, or the page's name is that of its tables.
    """
    markdown_file, latex_file = page_file.with_suffix(".md"), page_file.with_suffix(".tex")
    if page_file in (markdown_file, latex_file):
        raise ValueError(f"{page_file}: is where the tables go; give the page a name in .html")
    from prag_lightning.documents.writing import write_whole
    from prag_lightning.evaluation.report.page import render
    from prag_lightning.evaluation.report.sweep_folder import read_runs

    runs = read_runs(folders)
    print(f"reading and drawing {len(runs)} run{'s' if len(runs) > 1 else ''}", flush=True)
    report = render(runs, resample)
    figure_folder = page_file.with_name(f"{page_file.stem}_figures")
    for drawing in report.drawings:
        drawing.write(figure_folder)
    write_whole(page_file, report.page)
    write_whole(markdown_file, report.markdown)
    write_whole(latex_file, report.latex)
    print(f"the report is in {page_file}, its tables in {markdown_file} and {latex_file}")
    print(f"its {len(report.drawings)} figures are in {figure_folder}, as SVG and PDF")
