"""The report: a page that needs nothing besides itself, and its tables in Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from rich.filesize import decimal

from prag_lightning import __version__
from prag_lightning.evaluation.report.comparison import (
    MEASURES,
    Columns,
    DifferenceRow,
    ScoreRow,
    method_differences,
    run_differences,
    score_rows,
)
from prag_lightning.evaluation.report.curves import LossCurve, loss_curve
from prag_lightning.evaluation.report.disagreements import Disagreement, find_disagreements
from prag_lightning.evaluation.report.figures import loss_figure, norm_figure, score_figure
from prag_lightning.evaluation.report.recipe import recipe_rows, setting_differences
from prag_lightning.evaluation.report.run_folder import RunFolder
from prag_lightning.evaluation.report.statistics import LEVEL, NUM_RESAMPLES, Interval
from prag_lightning.evaluation.report.verdict import Verdict, judge

_MINUS = "\N{MINUS SIGN}"
# More panels side by side cannot be read.
_MOST_PANELS = 5


@dataclass(frozen=True)
class Section:
    """What the report says of one run; figures are SVG, None where there is nothing to show."""

    number: int
    run: RunFolder
    verdicts: list[Verdict]
    scores: list[ScoreRow]
    differences: list[DifferenceRow]
    curve: LossCurve | None
    disagreements: list[Disagreement]
    recipe: dict[str, str]
    score_svg: Markup | None
    loss_svg: Markup | None
    norm_svg: Markup | None


@dataclass(frozen=True)
class Comparison:
    """What a run scores above the first one, method by method."""

    run: RunFolder
    differences: list[DifferenceRow]


def render(runs: Sequence[RunFolder]) -> tuple[str, str]:
    """Return the report of some runs as HTML and as Markdown."""
    columns = [Columns(run.predictions) for run in runs]
    context = {
        "sections": [
            _section(n, run, c) for n, (run, c) in enumerate(zip(runs, columns, strict=True))
        ],
        "comparisons": [
            Comparison(run, run_differences(c, columns[0]))
            for run, c in zip(runs[1:], columns[1:], strict=True)
        ],
        "setting_differences": setting_differences(runs),
        "measures": MEASURES,
        "level": f"{LEVEL:.0%}",
        "num_resamples": f"{NUM_RESAMPLES:,}",
        "version": __version__,
    }
    page = _environment(escape=True).get_template("page.html.jinja").render(context)
    tables = _environment(escape=False).get_template("tables.md.jinja").render(context)
    return page, tables


def _section(number: int, run: RunFolder, columns: Columns) -> Section:
    scores = score_rows(run.scores, columns)
    differences = method_differences(columns)
    verdicts = judge(scores, differences)
    passes = run.setting("fit", "data", "passes") or 1
    curve = loss_curve(list(run.losses.values()), passes)
    types = [verdict.type for verdict in verdicts] or list(
        dict.fromkeys(score.type for score in run.scores)
    )
    prefix = f"run{number}"
    return Section(
        number=number,
        run=run,
        verdicts=verdicts,
        scores=scores,
        differences=differences,
        curve=curve,
        disagreements=find_disagreements(run.predictions),
        recipe=recipe_rows(run),
        score_svg=Markup(score_figure(scores, types[:_MOST_PANELS], f"{prefix}-scores"))
        if scores
        else None,
        loss_svg=Markup(loss_figure(curve, f"{prefix}-losses")) if curve else None,
        norm_svg=Markup(norm_figure(run.norms, f"{prefix}-norms")) if run.norms else None,
    )


def _environment(escape: bool) -> Environment:
    environment = Environment(
        loader=PackageLoader("prag_lightning.evaluation.report", "."),
        autoescape=escape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        fixed=lambda value, digits=3: f"{value:.{digits}f}",
        signed=lambda value: _number(value, "+"),
        bytes=lambda value: decimal(int(value)),
        interval=_interval,
        effect=_effect,
        cell=_cell,
    )
    return environment


def _number(value: float, sign: str = "-") -> str:
    """Return a number with three digits and a typographer's minus; zero has no sign."""
    rounded = round(value, 3)
    return f"{rounded:{sign}.3f}".replace("-", _MINUS) if rounded else "0.000"


def _interval(interval: Interval) -> str:
    return f"{_number(interval.low)} to {_number(interval.high)}"


def _effect(interval: Interval, measure: str = "f1") -> str:
    """Return whether a difference is for the better, for the worse or not shown."""
    up, down = ("better", "worse") if measure != "answer_nll" else ("worse", "better")
    return up if interval.is_positive else down if interval.is_negative else "unclear"


def _cell(value: Any) -> str:
    """Return a text as it stands in a cell of a Markdown table."""
    text = " ".join(str(value).split())
    return "".join(f"\\{letter}" if letter in r"\`*_{}[]<>()#|!~" else letter for letter in text)
