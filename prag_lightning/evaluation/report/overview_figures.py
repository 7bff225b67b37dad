"""Figures of several runs: over the settings of a sweep, side by side, and against cost."""

import re
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from prag_lightning.evaluation.report.cost_figures import cost_figure, recall_figure
from prag_lightning.evaluation.report.drawing import LINES, Drawing, ink, method_color
from prag_lightning.evaluation.report.overview import Overview, RunRow
from prag_lightning.evaluation.report.statistics import LEVEL
from prag_lightning.evaluation.report.sweep_folder import as_number

# More lines, bars or panels would be unreadable.
_MOST, _MOST_PANELS = len(LINES), 4
# The most informative methods first.
_ORDER = (
    *("prag", "combine", "combine_late", "own", "rag", "rag_gold", "rag_other", "rag_task"),
    *("other", "random", "task", "closed_book"),
)


def overview_figures(overview: Overview) -> list[Drawing]:
    """Return the figures that are informative for these runs."""
    if not overview.methods:
        return []
    figures = [axis_figure(overview, axis) for axis in overview.axes]
    if len(overview.axes) >= 2:
        figures.append(heat_figure(overview))
    if len(overview.rows) <= _MOST:
        figures.append(runs_figure(overview))
    if (cost := cost_figure(overview.rows, overview.methods, "cost")) is not None:
        figures.append(cost)
    if len({one.recall for row in overview.rows for one in row.retrieved}) > 1:
        figures.append(recall_figure(overview.rows))
    return figures


def axis_figure(overview: Overview, axis: str) -> Drawing:
    """Plot F1 over the values of one setting, a line for each combination of the others.

    Args:
        overview: The runs of a sweep.
        axis: The setting.
    """
    others = [key for key in overview.axes if key != axis]
    combinations = list(product(*(overview.axes[key] for key in others)))
    methods = _methods(overview)[:_MOST_PANELS]

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, len(methods), sharey=True, squeeze=False)[0]
        for panel, method in zip(panels, methods, strict=True):
            for number, values in enumerate(combinations[:_MOST]):
                fixed = dict(zip(others, values, strict=True))
                rows = _rows(overview, method, fixed)
                # Points at the same place would hide each other.
                shift = 0.1 * (number - (min(len(combinations), _MOST) - 1) / 2)
                color = LINES[number] if others else method_color(method)
                points = _Points(rows, method, axis, overview.axes[axis])
                _draw_points(panel, points, shift, color, _label(fixed))
            panel.set_title(method, fontsize=11, loc="left")
            panel.set_xlabel(axis)
        panels[0].set_ylabel("F1")
        if others:
            panels[-1].legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))

    caption = f"F1 over {axis}; bands and bars are {LEVEL:.0%} intervals."
    if len(combinations) > _MOST:
        caption += f" {_MOST} of {len(combinations)} combinations of {_and(others)} are drawn."
    return Drawing(f"over-{_file_name(axis)}", caption, 9.0, 3.0, draw)


class _Points(NamedTuple):
    """The scores of one method in some runs, over the values of one setting."""

    rows: Sequence[RunRow]
    method: str
    axis: str
    values: Sequence[str]


def _draw_points(panel: Axes, points: _Points, shift: float, color: str, label: str) -> None:
    """Draw a line with its band, or points with error bars if the values are not numbers."""
    rows, method, axis, values = points
    numbers = [as_number(value) for value in values]
    f1 = [row.scores[method].f1 for row in rows]
    ends = [row.intervals[method].get("f1") for row in rows]
    low = [end.low if end else value for end, value in zip(ends, f1, strict=True)]
    high = [end.high if end else value for end, value in zip(ends, f1, strict=True)]
    if None in numbers:
        places = [values.index(row.swept[axis]) + shift for row in rows]
        panel.vlines(places, low, high, color=color, linewidth=1.2, alpha=0.6)
        panel.plot(places, f1, "o", color=color, markersize=5, label=label)
        panel.set_xticks(range(len(values)), values)
        panel.set_xlim(-0.5, len(values) - 0.5)
    else:
        places = [float(row.swept[axis]) for row in rows]
        panel.fill_between(places, low, high, color=color, alpha=0.2, linewidth=0)
        panel.plot(places, f1, "o-", color=color, markersize=4, linewidth=1.6, label=label)
        panel.set_xticks([number for number in numbers if number is not None], values)
    panel.set_ylim(0, 1.02)


def heat_figure(overview: Overview) -> Drawing:
    """Plot the F1 of one method over two settings, a panel for each combination of the others."""
    down, across, *others = overview.axes
    method = _methods(overview)[0]
    combinations = list(product(*(overview.axes[key] for key in others)))[:_MOST_PANELS]

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, len(combinations), sharey=True, squeeze=False)[0]
        for panel, values in zip(panels, combinations, strict=True):
            fixed = dict(zip(others, values, strict=True))
            _draw_heat(panel, _rows(overview, method, fixed), method, overview, down, across)
            panel.set_title(_label(fixed), fontsize=11, loc="left")
            panel.set_xlabel(across)
        panels[0].set_ylabel(down)
        panels[0].invert_yaxis()

    rows = len(overview.axes[down])
    caption = f"F1 of {method} over {down} and {across}."
    return Drawing("heat", caption, 9.0, 1.2 + 0.45 * rows, draw)


def _draw_heat(
    panel: Axes, rows: Sequence[RunRow], method: str, overview: Overview, down: str, across: str
) -> None:
    table = np.full((len(overview.axes[down]), len(overview.axes[across])), np.nan)
    for row in rows:
        place = (
            overview.axes[down].index(row.swept[down]),
            overview.axes[across].index(row.swept[across]),
        )
        table[place] = row.scores[method].f1
    # Cells: the page allows no raster images.
    places = range(table.shape[1]), range(table.shape[0])
    panel.pcolormesh(*places, table, vmin=0, vmax=1, cmap="Blues")
    for (y, x), value in np.ndenumerate(table):
        if not np.isnan(value):
            color = "white" if value > 0.6 else "black"
            panel.text(x, y, f"{value:.3f}", ha="center", va="center", color=color, fontsize=10)
    panel.set_xticks(range(table.shape[1]), overview.axes[across])
    panel.set_yticks(range(table.shape[0]), overview.axes[down])
    panel.grid(visible=False)


def runs_figure(overview: Overview) -> Drawing:
    """Plot the F1 of each method in every run, side by side."""
    rows, methods = overview.rows, overview.methods
    width = 0.8 / len(rows)

    def draw(figure: Figure) -> None:
        panel = figure.subplots()
        for number, row in enumerate(rows):
            known = [method for method in methods if method in row.scores]
            places = [methods.index(m) + (number - (len(rows) - 1) / 2) * width for m in known]
            values = [row.scores[method].f1 for method in known]
            panel.bar(places, values, width * 0.92, color=LINES[number], label=row.label)
            for place, method in zip(places, known, strict=True):
                if (interval := row.intervals[method].get("f1")) is not None:
                    panel.vlines(place, interval.low, interval.high, color=ink(), linewidth=1)
        panel.set_xticks(range(len(methods)), methods)
        panel.set_ylim(0, 1.02)
        panel.set_ylabel("F1")
        panel.grid(axis="x", visible=False)
        panel.tick_params(axis="x", length=0)
        figure.legend(frameon=False, loc="outside lower left", ncols=2, fontsize=9)

    caption = f"F1 of every method in every run; lines are {LEVEL:.0%} intervals."
    return Drawing("runs", caption, 9.0, 3.0 + 0.1 * len(rows), draw)


def _rows(overview: Overview, method: str, fixed: dict[str, str]) -> list[RunRow]:
    """Return the runs of a method in which some settings have the values of ``fixed``."""
    return [
        row
        for row in overview.rows
        if method in row.scores and all(row.swept[key] == value for key, value in fixed.items())
    ]


def _methods(overview: Overview) -> list[str]:
    """Return the methods whose scores change from run to run, the most informative first."""
    known = sorted(overview.methods, key=lambda m: _ORDER.index(m) if m in _ORDER else len(_ORDER))
    changing = [method for method in known if overview.best(method, "f1") is not None]
    return changing or known


def _label(fixed: dict[str, str]) -> str:
    return ", ".join(f"{key} {value}" for key, value in fixed.items())


def _and(words: Sequence[str]) -> str:
    return " and ".join(words)


def _file_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "_", text)
