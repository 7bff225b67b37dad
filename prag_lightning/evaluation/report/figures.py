"""Figures of one run: scores, loss curve, and size and similarity of its adapters."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from prag_lightning.evaluation.report.adapter_norms import AdapterNorms, quantiles
from prag_lightning.evaluation.report.comparison import ScoreRow
from prag_lightning.evaluation.report.curves import LossCurve
from prag_lightning.evaluation.report.drawing import BLUE, LINES, Drawing, ink, method_color
from prag_lightning.evaluation.report.statistics import LEVEL


def score_figure(rows: Sequence[ScoreRow], types: Sequence[str], name: str) -> Drawing:
    """Plot F1 with intervals: a panel for each type, a bar for each method.

    Args:
        rows: The scores.
        types: Types of questions, from left to right.
        name: Name of the drawing.
    """
    methods = list(dict.fromkeys(row.score.method for row in rows))
    by_place = {(row.score.method, row.score.type): row for row in rows}

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, len(types), sharey=True, squeeze=False)[0]
        for panel, kind in zip(panels, types, strict=True):
            for place, method in enumerate(methods):
                if (row := by_place.get((method, kind))) is None:
                    continue
                value = end = row.score.f1
                panel.barh(place, value, height=0.62, color=method_color(method))
                if (interval := row.intervals.get("f1")) is not None:
                    ends = [interval.low, interval.high]
                    panel.plot(ends, [place, place], color=ink(), linewidth=1.2)
                    end = max(value, interval.high)
                panel.text(end + 0.02, place, f"{value:.3f}", va="center", fontsize=9.5)
            panel.set_title(f"{kind}, F1", fontsize=11, loc="left")
            panel.set_xlim(0, 1.2)
            panel.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
            panel.grid(axis="y", visible=False)
            panel.tick_params(length=0)
            panel.spines["bottom"].set_visible(False)
        panels[0].set_yticks(range(len(methods)), methods)
        panels[0].invert_yaxis()

    caption = f"F1 of every method; lines are {LEVEL:.0%} intervals."
    return Drawing(name, caption, 9.0, 0.5 + 0.33 * len(methods), draw)


def loss_figure(curve: LossCurve, caption: str, name: str) -> Drawing:
    """Plot the median loss by step within a document, with a band for 80 % of documents.

    Args:
        curve: The losses.
        caption: Caption of the figure.
        name: Name of the drawing.
    """
    steps = np.arange(1, len(curve.median) + 1)

    def draw(figure: Figure) -> None:
        panel = figure.subplots()
        panel.fill_between(steps, curve.low, curve.high, color=BLUE, alpha=0.25, linewidth=0)
        panel.plot(steps, curve.median, color=BLUE, linewidth=1.8)
        for start in range(curve.pass_length or len(steps), len(steps), curve.pass_length or 1):
            panel.axvline(start + 0.5, color=ink(), linewidth=0.8, linestyle=(0, (4, 3)))
        panel.set_xlim(0.5, len(steps) + 0.5)
        panel.set_ylim(bottom=0)
        panel.set_xlabel("step within a document")
        panel.set_ylabel("loss before the step")

    return Drawing(name, caption, 9.0, 3.0, draw)


def norm_figure(norms: AdapterNorms, name: str) -> Drawing:
    """Plot the median norm of weight updates by layer, a line for each kind of module.

    Args:
        norms: The norms.
        name: Name of the drawing.
    """

    def draw(figure: Figure) -> None:
        panel = figure.subplots()
        for number, (module, by_layer) in enumerate(norms.norms.items()):
            color = LINES[number % len(LINES)]
            layers, values = zip(*sorted(by_layer.items()), strict=True)
            low, high = quantiles(values, 0.1), quantiles(values, 0.9)
            panel.fill_between(layers, low, high, color=color, alpha=0.2, linewidth=0)
            middle = quantiles(values, 0.5)
            panel.plot(layers, middle, color=color, marker="o", markersize=4, label=module)
        panel.set_ylim(bottom=0)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.set_xlabel("layer")
        panel.set_ylabel("norm of the update")
        # Beside the lines, so that it never hides them.
        panel.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))

    caption = (
        "Frobenius norm of what an adapter adds to a weight matrix, by layer and kind of module: "
        f"the median of {norms.num_documents} documents, and the band that holds 80 % of them."
    )
    return Drawing(name, caption, 9.0, 3.0, draw)


def similarity_figure(similarity: Tensor, name: str) -> Drawing:
    """Plot a map and a histogram of the cosines between weight updates.

    Args:
        similarity: The cosines, shape ``(documents, documents)``.
        name: Name of the drawing.
    """
    table = similarity.numpy()
    between = table[~np.eye(len(table), dtype=bool)]

    def draw(figure: Figure) -> None:
        shades, bars = figure.subplots(1, 2, width_ratios=(1, 1.6))
        # Cells in few colours: the page allows no raster images.
        colors = mpl.colormaps["PuOr"].resampled(21)
        places = range(1, len(table) + 1)
        shown = shades.pcolormesh(places, places, table, vmin=-1, vmax=1, cmap=colors)
        shades.invert_yaxis()
        shades.set_aspect("equal")
        figure.colorbar(shown, ax=shades, shrink=0.85, label="cosine")
        shades.set_xlabel("document")
        shades.set_ylabel("document")
        shades.grid(visible=False)
        bars.hist(between, bins=np.linspace(-1, 1, 41), color=BLUE)
        bars.set_xlabel("cosine of two documents")
        bars.set_ylabel("ordered pairs")

    caption = (
        f"How alike the adapters of {len(table)} documents are: cosines between what they add to "
        f"all weights, {between.mean():.3f} on average between two. What they share counts once "
        "for each adapter in a plain sum."
    )
    return Drawing(name, caption, 9.0, 3.2, draw)
