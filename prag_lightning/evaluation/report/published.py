"""Published F1 to compare a run with: table 1 of Su et al. 2025 (arXiv:2501.15915)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from prag_lightning.evaluation.report.comparison import ScoreRow
from prag_lightning.evaluation.report.drawing import Drawing, ink, method_color
from prag_lightning.evaluation.report.run_folder import RunFolder
from prag_lightning.evaluation.report.statistics import LEVEL, Interval

# With adapters from a random start, by data set and model: type, then rag, prag and combine.
_METHODS = ("rag", "prag", "combine")
PUBLISHED: dict[str, dict[str, dict[str, tuple[float, float, float]]]] = {
    "2wikimultihopqa": {
        "llama-3.2-1b": {
            "comparison": (0.4298, 0.4920, 0.5046),
            "bridge_comparison": (0.3032, 0.3994, 0.4595),
            "inference": (0.2263, 0.2185, 0.2399),
            "compositional": (0.1064, 0.1334, 0.1357),
            "all": (0.2520, 0.2764, 0.3237),
        },
        "qwen2.5-1.5b": {
            "comparison": (0.3875, 0.4529, 0.4053),
            "bridge_comparison": (0.3884, 0.4494, 0.4420),
            "inference": (0.1187, 0.2072, 0.1705),
            "compositional": (0.0568, 0.1372, 0.1154),
            "all": (0.2431, 0.3025, 0.2627),
        },
        "llama-3-8b": {
            "comparison": (0.5843, 0.6353, 0.6432),
            "bridge_comparison": (0.4794, 0.5437, 0.5556),
            "inference": (0.1833, 0.2471, 0.3160),
            "compositional": (0.0991, 0.1992, 0.2339),
            "all": (0.3372, 0.3932, 0.4258),
        },
    },
    "hotpotqa": {
        "llama-3.2-1b": {
            "bridge": (0.2110, 0.1602, 0.2282),
            "comparison": (0.4083, 0.4493, 0.4217),
            "all": (0.2671, 0.1999, 0.2689),
        },
        "qwen2.5-1.5b": {
            "bridge": (0.1619, 0.1720, 0.2383),
            "comparison": (0.3713, 0.4623, 0.5037),
            "all": (0.2073, 0.2165, 0.2942),
        },
        "llama-3-8b": {
            "bridge": (0.1823, 0.3115, 0.4025),
            "comparison": (0.3493, 0.6557, 0.6918),
            "all": (0.2277, 0.3563, 0.4559),
        },
    },
    "complexwebquestions": {
        "llama-3.2-1b": {"all": (0.3726, 0.3482, 0.4101)},
        "qwen2.5-1.5b": {"all": (0.2823, 0.3280, 0.3495)},
        "llama-3-8b": {"all": (0.3545, 0.4541, 0.4728)},
    },
    "popqa": {
        "llama-3.2-1b": {"all": (0.1839, 0.2205, 0.2961)},
        "qwen2.5-1.5b": {"all": (0.0999, 0.1885, 0.2261)},
        "llama-3-8b": {"all": (0.1613, 0.2413, 0.3059)},
    },
}


@dataclass(frozen=True)
class PublishedRow:
    """Our F1 beside the published one.

    Args:
        method: The method.
        type: Type of questions.
        ours: Our F1.
        interval: Its interval, if there are predictions.
        published: The published F1.
    """

    method: str
    type: str
    ours: float
    interval: Interval | None
    published: float


def published_rows(run: RunFolder, scores: Sequence[ScoreRow]) -> list[PublishedRow]:
    """Return the scores that have a published one; none if no such experiment was published.

    A run matches a published experiment if its base has the same name, and a folder in the path of
    its documents is named like the data set.

    Args:
        run: The run.
        scores: Its scores.
    """
    base = str(run.setting("test", "model", "base") or "").lower()
    folders = Path(str(run.setting("test", "data", "folder") or "")).parts
    dataset = next((name for name in PUBLISHED if name in folders), None)
    models = PUBLISHED[dataset] if dataset else {}
    by_type = next((types for model, types in models.items() if f"{model}-" in f"{base}-"), {})
    return [
        PublishedRow(
            row.score.method,
            row.score.type,
            row.score.f1,
            row.intervals.get("f1"),
            by_type[row.score.type][_METHODS.index(row.score.method)],
        )
        for row in scores
        if row.score.type in by_type and row.score.method in _METHODS
    ]


def published_figure(rows: Sequence[PublishedRow], name: str) -> Drawing:
    """Plot our F1 over the published one, a point for each method and type.

    Args:
        rows: The scores.
        name: Name of the drawing.
    """
    top = 1.1 * max(max(row.ours, row.published) for row in rows)

    def draw(figure: Figure) -> None:
        panel = figure.subplots()
        panel.plot([0, top], [0, top], color=ink(), linewidth=0.8, linestyle=(0, (4, 3)))
        for row in rows:
            color = method_color(row.method)
            panel.plot(row.published, row.ours, "o", color=color, markersize=6)
            if row.interval is not None:
                ends = row.interval.low, row.interval.high
                panel.vlines(row.published, *ends, color=color, linewidth=1.2)
            text, place = f"{row.method}, {row.type}", (row.published, row.ours)
            panel.annotate(text, place, (6, 3), textcoords="offset points", fontsize=8)
        panel.set_xlim(0, top)
        panel.set_ylim(0, max(top, *(row.interval.high if row.interval else 0 for row in rows)))
        panel.set_xlabel("published F1")
        panel.set_ylabel("F1 of this run")

    caption = (
        "F1 of this run over the published one (Su et al. 2025, table 1); on the dashed line they "
        f"are equal, bars are {LEVEL:.0%} intervals."
    )
    return Drawing(name, caption, 6.0, 4.5, draw)
