"""Drawings: SVG that takes font and colours from its page, and files for a paper."""

import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from prag_lightning.documents.terminal import without_controls
from prag_lightning.documents.writing import write_whole

# Distinguishable with any colour vision (Okabe & Ito 2008, jfly.uni-koeln.de/color).
BLUE, ORANGE, GREEN, GREY = "#0072b2", "#e69f00", "#009e73", "#8c8c8c"
LINES = (BLUE, ORANGE, GREEN, "#cc79a7", "#56b4e9", "#d55e00", GREY)
_METHOD_COLORS = {
    **dict.fromkeys(("prag", "own"), BLUE),
    **dict.fromkeys(("rag", "rag_gold", "rag_other", "rag_task"), ORANGE),
    **dict.fromkeys(("combine", "combine_late"), GREEN),
}
# Placeholders for the page's own colours.
_INK, _FAINT = "#010203", "#040506"
_PAPER_INK, _PAPER_FAINT = "#000000", "#d0d0d0"


@dataclass(frozen=True)
class Drawing:
    """A figure for the page and for files.

    Args:
        name: Its name, unique within a report; also used for its files.
        caption: What it shows, in sentences.
        width: Width in inches.
        height: Height in inches.
        draw: Draws into an empty figure.
    """

    name: str
    caption: str
    width: float
    height: float
    draw: Callable[[Figure], None]

    def svg(self) -> str:
        """Return the drawing as an SVG element, whose ids all begin with its name."""
        svg = self._svg[self._svg.index("<svg") :]
        svg = svg.replace(_INK, "var(--ink)").replace(_FAINT, "var(--faint)")
        svg = re.sub(r'\bid="', f'id="{self.name}-', svg)
        svg = re.sub(r'href="#', f'href="#{self.name}-', svg)
        svg = svg.replace("url(#", f"url(#{self.name}-")
        # The page sets the width.
        return re.sub(r' (?:width|height)="[\d.]+pt"', "", svg, count=2)

    def write(self, folder: Path) -> None:
        """Write the drawing as SVG and as PDF."""
        svg = self._svg.replace(_INK, _PAPER_INK).replace(_FAINT, _PAPER_FAINT)
        write_whole(folder / f"{self.name}.svg", svg)
        pdf = self._save("pdf", _PAPER_INK, _PAPER_FAINT, ("CreationDate",))
        write_whole(folder / f"{self.name}.pdf", pdf)

    @cached_property
    def _svg(self) -> str:
        unknown = ("Date", "Creator", "Format", "Type")
        return without_controls(self._save("svg", _INK, _FAINT, unknown).decode())

    def _save(self, kind: str, ink: str, faint: str, unknown: Sequence[str]) -> bytes:
        """Return the content of the drawing's file, reproducible and without needless metadata."""
        content = io.BytesIO()
        with mpl.rc_context(_style(ink, faint)), warnings.catch_warnings():  # type: ignore[arg-type]
            # The reader's own fonts show glyphs that matplotlib's font lacks.
            warnings.filterwarnings("ignore", "Glyph")
            figure = Figure(figsize=(self.width, self.height), layout="constrained")
            self.draw(figure)
            nothing = dict.fromkeys(unknown)
            figure.savefig(content, format=kind, transparent=True, metadata=nothing)
        return content.getvalue()


def method_color(method: str) -> str:
    """Return the colour of a method: documents in the weights, in the prompt, both or neither."""
    return _METHOD_COLORS.get(method, GREY)


def ink() -> str:
    """Return the colour of text in the drawing that is being made."""
    return str(mpl.rcParams["text.color"])


def _style(ink_color: str, faint_color: str) -> dict[str, object]:
    return {
        "svg.fonttype": "none",
        "svg.hashsalt": "prag",
        # Searchable, editable text, as journals require.
        "pdf.fonttype": 42,
        "font.size": 11,
        "text.color": ink_color,
        "axes.labelcolor": ink_color,
        "xtick.color": ink_color,
        "ytick.color": ink_color,
        "axes.edgecolor": faint_color,
        "grid.color": faint_color,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "axes.grid": True,
        "grid.linewidth": 0.6,
        "text.parse_math": False,
    }
