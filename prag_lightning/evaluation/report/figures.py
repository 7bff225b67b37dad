"""Figures as SVG for a page: text stays text, and takes the page's font and colours."""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from prag_lightning.evaluation.report.adapter_norms import AdapterNorms, quantiles
from prag_lightning.evaluation.report.comparison import ScoreRow
from prag_lightning.evaluation.report.curves import LossCurve

# Distinguishable with any colour vision (Okabe & Ito 2008, jfly.uni-koeln.de/color).
BLUE, ORANGE, GREEN, GREY = "#0072b2", "#e69f00", "#009e73", "#8c8c8c"
_METHOD_COLORS = {
    **dict.fromkeys(("prag", "own"), BLUE),
    **dict.fromkeys(("rag", "rag_gold"), ORANGE),
    "combine": GREEN,
}
_LINES = (BLUE, ORANGE, GREEN, "#cc79a7", "#56b4e9", "#d55e00", GREY)
# Colours that stand for those of the page, whatever they are there.
_INK, _FAINT = "#010203", "#040506"
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "prag",
    "font.size": 11,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.edgecolor": _FAINT,
    "grid.color": _FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.linewidth": 0.6,
}


def score_figure(rows: Sequence[ScoreRow], types: Sequence[str], prefix: str) -> str:
    """Return bars of F1 with intervals: a panel for each type, a bar for each method."""
    methods = list(dict.fromkeys(row.score.method for row in rows))
    by_place = {(row.score.method, row.score.type): row for row in rows}
    with _figure(9.0, 0.5 + 0.33 * len(methods)) as figure:
        panels = figure.subplots(1, len(types), sharey=True, squeeze=False)[0]
        for panel, name in zip(panels, types, strict=True):
            for place, method in enumerate(methods):
                if (row := by_place.get((method, name))) is None:
                    continue
                value, color = row.score.f1, _METHOD_COLORS.get(method, GREY)
                panel.barh(place, value, height=0.62, color=color)
                end = value
                if (interval := row.intervals.get("f1")) is not None:
                    ends = [interval.low, interval.high]
                    panel.plot(ends, [place, place], color=_INK, linewidth=1.2)
                    end = max(value, interval.high)
                panel.text(end + 0.02, place, f"{value:.3f}", va="center", fontsize=9.5)
            panel.set_title(f"{name}, F1", fontsize=11, loc="left")
            panel.set_xlim(0, 1.2)
            panel.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
            panel.grid(axis="y", visible=False)
            panel.tick_params(length=0)
            panel.spines["bottom"].set_visible(False)
        panels[0].set_yticks(range(len(methods)), methods)
        panels[0].invert_yaxis()
        return _svg(figure, prefix)


def loss_figure(curve: LossCurve, prefix: str) -> str:
    """Return the median loss by step within a document, with a band for 80 % of documents."""
    steps = np.arange(1, len(curve.median) + 1)
    with _figure(9.0, 3.0) as figure:
        panel = figure.subplots()
        panel.fill_between(steps, curve.low, curve.high, color=BLUE, alpha=0.25, linewidth=0)
        panel.plot(steps, curve.median, color=BLUE, linewidth=1.8)
        for start in range(curve.pass_length or len(steps), len(steps), curve.pass_length or 1):
            panel.axvline(start + 0.5, color=_INK, linewidth=0.8, linestyle=(0, (4, 3)))
        panel.set_xlim(0.5, len(steps) + 0.5)
        panel.set_ylim(bottom=0)
        panel.set_xlabel("step within a document")
        panel.set_ylabel("loss before the step")
        return _svg(figure, prefix)


def norm_figure(norms: AdapterNorms, prefix: str) -> str:
    """Return the median norm of what adapters add, by layer, a line for each kind of module."""
    with _figure(9.0, 3.0) as figure:
        panel = figure.subplots()
        for number, (name, by_layer) in enumerate(norms.norms.items()):
            color = _LINES[number % len(_LINES)]
            layers, values = zip(*sorted(by_layer.items()), strict=True)
            low, high = quantiles(values, 0.1), quantiles(values, 0.9)
            panel.fill_between(layers, low, high, color=color, alpha=0.2, linewidth=0)
            middle = quantiles(values, 0.5)
            panel.plot(layers, middle, color=color, marker="o", markersize=4, label=name)
        panel.set_ylim(bottom=0)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.set_xlabel("layer")
        panel.set_ylabel("norm of the update")
        # Beside the lines, for it must never hide them.
        panel.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
        return _svg(figure, prefix)


@contextmanager
def _figure(width: float, height: float) -> Iterator[Figure]:
    with mpl.rc_context(_STYLE):  # type: ignore[arg-type]
        yield Figure(figsize=(width, height), layout="constrained")


def _svg(figure: Figure, prefix: str) -> str:
    """Return a figure as an element of a page in which all ids begin with ``prefix``."""
    content = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(content, format="svg", transparent=True, metadata=nothing)
    svg = content.getvalue()
    svg = svg[svg.index("<svg") :].replace(_INK, "var(--ink)").replace(_FAINT, "var(--faint)")
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = re.sub(r'href="#', f'href="#{prefix}-', svg)
    svg = svg.replace("url(#", f"url(#{prefix}-")
    # The page says how wide it is.
    return re.sub(r' (?:width|height)="[\d.]+pt"', "", svg, count=2)
