"""Figures of accuracy against cost, and against retrieval."""

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator
from rich.filesize import decimal

from prag_lightning.evaluation.report.drawing import Drawing, ink, method_color
from prag_lightning.evaluation.report.overview import RunRow
from prag_lightning.evaluation.report.retrieved import Retrieved
from prag_lightning.evaluation.report.statistics import LEVEL
from prag_lightning.evaluation.scores import Score

# Methods that answer from adapters alone.
_IN_WEIGHTS = ("own", "prag")
_MARKERS = "os^Dv<>PX*"


def cost_figure(rows: Sequence[RunRow], methods: Sequence[str], name: str) -> Drawing | None:
    """Plot F1 against seconds per question, seconds to encode a document, and bytes per adapter.

    None if the costs are the same everywhere.

    Args:
        rows: One run or several.
        methods: All methods.
        name: Name of the drawing.
    """
    costs: dict[str, Callable[[RunRow, Score], float | None]] = {
        "seconds a question": lambda _, score: 1 / score.questions_per_second,
        "seconds to encode a document": lambda row, _: row.encoding_seconds,
        "bytes of an adapter": lambda row, _: row.bytes_per_document,
    }
    points = {
        label: [
            (cost, row.scores[method].f1, method, number)
            for number, row in enumerate(rows)
            for method in (methods if label == "seconds a question" else _IN_WEIGHTS)
            if method in row.scores and (cost := of(row, row.scores[method])) is not None
        ]
        for label, of in costs.items()
    }
    # A cost that is the same everywhere is not plotted.
    shown = {label: found for label, found in points.items() if len({p[0] for p in found}) > 1}

    if not shown:
        return None

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
        for panel, (label, found) in zip(panels, shown.items(), strict=True):
            for cost, f1, method, number in found:
                marker, color = _MARKERS[number % len(_MARKERS)], method_color(method)
                panel.plot(cost, f1, marker, color=color, markersize=6, alpha=0.85)
            _scale(panel, label)
        panels[0].set_ylabel("F1")
        _name(figure, [method for method in methods if any(method in row.scores for row in rows)])

    caption = "F1 against cost, on logarithmic scales."
    if len(rows) > 1:
        caption += " Every run has a mark of its own."
    return Drawing(name, caption, 9.0, 3.3, draw)


def _scale(panel: Axes, label: str) -> None:
    """Give a panel a logarithmic scale with few plain numbers."""
    panel.set_xscale("log")
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=6))
    panel.xaxis.set_major_formatter(lambda x, _: decimal(int(x)) if "bytes" in label else f"{x:g}")
    panel.xaxis.set_minor_locator(NullLocator())
    panel.margins(x=0.15)
    panel.set_ylim(-0.03, 1.08)
    panel.set_xlabel(label)


def _name(figure: Figure, methods: Sequence[str]) -> None:
    """Add a legend; methods of one colour share an entry."""
    names: dict[str, list[str]] = {}
    for method in methods:
        names.setdefault(method_color(method), []).append(method)
    marks = [Line2D([], [], color=color, marker="o", linestyle="") for color in names]
    labels = [", ".join(named) for named in names.values()]
    figure.legend(marks, labels, loc="outside lower center", frameon=False, ncols=2, fontsize=9)


def found_figure(rows: Sequence[Retrieved], name: str) -> Drawing:
    """Plot F1 of each method on questions whose gold documents were found, and on the others.

    Args:
        rows: Scores by whether retrieval found the gold documents.
        name: Name of the drawing.
    """

    def draw(figure: Figure) -> None:
        panel = figure.subplots()
        for place, row in enumerate(rows):
            both = ((row.found, row.num_found, -0.19, 1.0), (row.missed, row.num_missed, 0.19, 0.4))
            for interval, count, shift, alpha in both:
                if interval is None:
                    continue
                at, color = place + shift, method_color(row.method)
                panel.barh(at, interval.mean, height=0.34, color=color, alpha=alpha)
                panel.plot([interval.low, interval.high], [at, at], color=ink(), linewidth=1.2)
                end = max(interval.mean, interval.high)
                text = f"{interval.mean:.3f} of {count}"
                panel.text(end + 0.015, at, text, va="center", fontsize=9)
        panel.set_yticks(range(len(rows)), [row.method for row in rows])
        panel.invert_yaxis()
        panel.set_xlim(0, 1.25)
        panel.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        panel.set_xlabel("F1")
        panel.grid(axis="y", visible=False)

    caption = (
        "F1 where retrieval found all gold documents (full colour) and where it did not (pale), "
        f"with the number of questions; lines are {LEVEL:.0%} intervals."
    )
    return Drawing(name, caption, 9.0, 0.8 + 0.6 * len(rows), draw)


def recall_figure(rows: Sequence[RunRow]) -> Drawing:
    """Plot F1 over the share of gold documents that was retrieved, a point for each run."""

    def draw(figure: Figure) -> None:
        panel = figure.subplots()
        for number, row in enumerate(rows):
            for one in row.retrieved:
                marker, color = _MARKERS[number % len(_MARKERS)], method_color(one.method)
                f1 = row.scores[one.method].f1
                panel.plot(one.recall, f1, marker, color=color, markersize=6, alpha=0.85)
        panel.set_xlabel("share of gold documents retrieved")
        panel.set_ylabel("F1")
        panel.set_ylim(-0.03, 1.05)
        _name(figure, list(dict.fromkeys(one.method for row in rows for one in row.retrieved)))

    caption = "F1 over what retrieval found; every run has a mark of its own."
    return Drawing("recall", caption, 9.0, 3.3, draw)
