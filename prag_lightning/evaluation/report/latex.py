"""LaTeX tables for a paper, with booktabs rules."""

from collections.abc import Sequence

from prag_lightning.evaluation.report.comparison import ScoreRow
from prag_lightning.evaluation.report.overview import Overview
from prag_lightning.evaluation.report.statistics import LEVEL, Interval

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
}
_INTERVALS = rf"small figures are {LEVEL * 100:.0f}\,\% bootstrap intervals"


def score_tables(labels: Sequence[str], scores: Sequence[Sequence[ScoreRow]]) -> str:
    """Return a table of each run's scores.

    Args:
        labels: Label of each run.
        scores: The scores of each run.
    """
    return "\n".join(
        _table(
            "llrrrrrr",
            ["method", "questions", "$n$", "EM", "F1", "precision", "recall", "NLL"],
            [_score_cells(row) for row in rows],
            f"Scores of {escape(label)}; {_INTERVALS}.",
            f"tab:scores-{number}",
        )
        for number, (label, rows) in enumerate(zip(labels, scores, strict=True), start=1)
        if rows
    )


def overview_table(overview: Overview) -> str:
    """Return a table of F1 in every run, a row for each run; the best of a column is bold."""
    axes = list(overview.axes)
    header = [escape(name) for name in (*(axes or ["run"]), *overview.methods)]
    best = {method: overview.best(method, "f1") for method in overview.methods}
    rows = []
    for row in overview.rows:
        names = [row.swept[axis] for axis in axes] or [row.label]
        cells = [escape(name) for name in names]
        for method in overview.methods:
            score = row.scores.get(method)
            interval = row.intervals.get(method, {}).get("f1")
            is_best = score is not None and score.f1 == best[method]
            cells.append(_value(score.f1, interval, is_best) if score else "")
        rows.append(cells)
    columns = "l" * max(len(axes), 1) + "r" * len(overview.methods)
    caption = f"F1 over all questions; {_INTERVALS}."
    return _table(columns, header, rows, caption, "tab:runs")


def escape(text: str) -> str:
    r"""Escape a text for LaTeX.

    >>> escape("one_hop 50%")
    'one\\_hop 50\\%'
    """
    return "".join(_ESCAPES.get(letter, letter) for letter in " ".join(text.split()))


def _score_cells(row: ScoreRow) -> list[str]:
    score, intervals = row.score, row.intervals
    nll = score.answer_nll
    return [
        escape(score.method),
        escape(score.type),
        str(score.num_questions),
        _value(score.em, intervals.get("em")),
        _value(score.f1, intervals.get("f1")),
        f"{score.precision:.3f}",
        f"{score.recall:.3f}",
        "" if nll is None else _value(nll, intervals.get("answer_nll")),
    ]


def _value(value: float, interval: Interval | None, is_bold: bool = False) -> str:
    text = rf"\textbf{{{value:.3f}}}" if is_bold else f"{value:.3f}"
    if interval is None:
        return text
    return rf"{text} {{\scriptsize [{interval.low:.3f}, {interval.high:.3f}]}}"


def _table(
    columns: str, header: Sequence[str], rows: Sequence[Sequence[str]], caption: str, label: str
) -> str:
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{caption}}}",
        rf"\label{{{label}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(header) + r" \\",
        r"\midrule",
        *(" & ".join(row) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"
