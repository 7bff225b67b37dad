"""The report: a self-contained page, its tables, and its figures."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from prag_lightning import __version__
from prag_lightning.evaluation.report.comparison import (
    MEASURES,
    Columns,
    DifferenceRow,
    run_differences,
)
from prag_lightning.evaluation.report.drawing import Drawing
from prag_lightning.evaluation.report.latex import overview_table, score_tables
from prag_lightning.evaluation.report.overview import make_overview
from prag_lightning.evaluation.report.overview_figures import overview_figures
from prag_lightning.evaluation.report.recipe import setting_differences
from prag_lightning.evaluation.report.run_folder import RunFolder
from prag_lightning.evaluation.report.section import make_section
from prag_lightning.evaluation.report.statistics import LEVEL, NUM_RESAMPLES, Resample
from prag_lightning.evaluation.report.template import environment
from prag_lightning.evaluation.scores import NO_NLL

# With more runs, the sections of single runs are collapsed.
_MOST_OPEN = 3


@dataclass(frozen=True)
class Comparison:
    """Differences of a run to the first one, method by method."""

    run: RunFolder
    differences: list[DifferenceRow]


@dataclass(frozen=True)
class Report:
    """The parts of a report.

    Args:
        page: The page in HTML.
        markdown: Its tables in Markdown.
        latex: The scores in LaTeX.
        drawings: The figures that get files.
    """

    page: str
    markdown: str
    latex: str
    drawings: list[Drawing]


def render(runs: Sequence[RunFolder], resample: Resample = "questions") -> Report:
    """Return the report of some runs; several are compared first.

    Args:
        runs: The runs.
        resample: What to resample for intervals.
    """
    columns = [Columns(run.predictions, resample) for run in runs]
    sections = [
        make_section(n, run, c) for n, (run, c) in enumerate(zip(runs, columns, strict=True))
    ]
    several = len(runs) > 1
    overview = make_overview(runs, columns)
    figures = overview_figures(overview) if several else []
    context = {
        "sections": sections,
        "overview": overview,
        "figures": figures,
        "comparisons": [
            Comparison(run, run_differences(c, columns[0]))
            for run, c in zip(runs[1:], columns[1:], strict=True)
        ],
        "setting_differences": setting_differences(runs),
        "open_runs": len(runs) <= _MOST_OPEN,
        "measures": MEASURES,
        "no_nll": NO_NLL,
        "level": f"{LEVEL:.0%}",
        "num_resamples": f"{NUM_RESAMPLES:,}",
        "resample": resample,
        "version": __version__,
    }
    page = environment(escape=True).get_template("page.html.jinja").render(context)
    markdown = environment(escape=False).get_template("tables.md.jinja").render(context)
    latex = score_tables([run.label for run in runs], [section.scores for section in sections])
    if several:
        latex = overview_table(overview) + "\n" + latex
    # With many runs, only the comparison gets files.
    shown = [section.drawings for section in sections if len(runs) <= _MOST_OPEN]
    return Report(page, markdown, latex, [*figures, *chain.from_iterable(shown)])
