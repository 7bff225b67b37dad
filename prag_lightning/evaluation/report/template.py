"""The templates of a report, and their formats of numbers and texts."""

from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from rich.filesize import decimal

from prag_lightning.answering.merge_choice import rule_text
from prag_lightning.documents.terminal import without_controls
from prag_lightning.evaluation.report.drawing import Drawing
from prag_lightning.evaluation.report.statistics import Interval
from prag_lightning.evaluation.scores import rate_text

_MINUS = "\N{MINUS SIGN}"


def environment(escape: bool) -> Environment:
    """Return the environment that renders the templates of this folder.

    Args:
        escape: Whether texts are escaped for HTML.
    """
    made = Environment(
        loader=PackageLoader("prag_lightning.evaluation.report", "."),
        autoescape=escape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Generated text may contain control characters, which a page must not.
        finalize=lambda value: without_controls(value) if type(value) is str else value,
    )
    made.filters.update(
        fixed=lambda value, digits=3: f"{value:.{digits}f}",
        signed=lambda value: _number(value, "+"),
        bytes=lambda value: decimal(int(value)),
        rate=rate_text,
        interval=_interval,
        effect=_effect,
        cell=cell,
        rule=rule_text,
        svg=_svg,
        yaml=lambda settings: yaml.safe_dump(settings, sort_keys=False, allow_unicode=True),
    )
    return made


def cell(value: Any) -> str:
    """Escape a text for a cell of a Markdown table."""
    text = " ".join(str(value).split())
    return "".join(f"\\{letter}" if letter in r"\`*_{}[]<>()#|!~" else letter for letter in text)


def _svg(drawing: Drawing) -> Markup:
    # matplotlib has already escaped the texts in a figure.
    return Markup(drawing.svg())


def _number(value: float, sign: str = "-") -> str:
    """Return a number with three digits and a typographer's minus; zero has no sign."""
    rounded = round(value, 3)
    return f"{rounded:{sign}.3f}".replace("-", _MINUS) if rounded else "0.000"


def _interval(interval: Interval) -> str:
    return f"{_number(interval.low)} to {_number(interval.high)}"


def _effect(interval: Interval, measure: str = "f1") -> str:
    """Return whether a difference is better, worse or not significant."""
    up, down = ("better", "worse") if measure != "answer_nll" else ("worse", "better")
    return up if interval.is_positive else down if interval.is_negative else "unclear"
