"""Several runs side by side: scores with intervals, and the cost of each run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from prag_lightning.evaluation.report.comparison import Columns, Intervals, score_rows
from prag_lightning.evaluation.report.retrieved import Retrieved, by_retrieval
from prag_lightning.evaluation.report.run_folder import RunFolder
from prag_lightning.evaluation.report.sweep_folder import axis_place
from prag_lightning.evaluation.scores import ALL_TYPES, Score
from prag_lightning.evaluation.setting_names import short_keys

# Methods whose scores do not come from the documents: lower is better.
CONTROLS = ("closed_book", "other", "random", "task")


@dataclass(frozen=True)
class RunRow:
    """One run among others, over all its questions.

    Args:
        label: Label that is unique among the runs.
        swept: Its values of the swept settings, by short key.
        scores: The score of each method.
        intervals: The intervals of each method, by measure.
        retrieved: Scores by whether retrieval found the gold documents.
        encoding_seconds: Time to encode a document; None if unknown.
        bytes_per_document: Size of an adapter in the store; None if unknown.
    """

    label: str
    swept: Mapping[str, str]
    scores: Mapping[str, Score]
    intervals: Mapping[str, Intervals]
    retrieved: Sequence[Retrieved]
    encoding_seconds: float | None
    bytes_per_document: float | None


@dataclass(frozen=True)
class Overview:
    """Several runs, and the settings that differ between them.

    Args:
        rows: The runs.
        methods: All methods that were run, in order.
        axes: The settings of a sweep with several values, and those values, sorted.
    """

    rows: list[RunRow]
    methods: list[str]
    axes: dict[str, list[str]]

    def best(self, method: str, measure: str) -> float | None:
        """Return the best score of a method in any run.

        None if no run is better than another, and for methods without a document's help.

        Args:
            method: The method.
            measure: ``em``, ``f1`` or ``answer_nll``; of the last, the lowest is best.
        """
        if method in CONTROLS:
            return None
        found = [getattr(row.scores[method], measure) for row in self.rows if method in row.scores]
        values: list[float] = [value for value in found if value is not None]
        if len({f"{value:.3f}" for value in values}) < 2:
            return None
        return min(values) if measure == "answer_nll" else max(values)


def make_overview(runs: Sequence[RunFolder], columns: Sequence[Columns]) -> Overview:
    """Return several runs side by side.

    Args:
        runs: The runs.
        columns: The numbers of each run's questions.
    """
    rows = [_row(run, column) for run, column in zip(runs, columns, strict=True)]
    methods = list(dict.fromkeys(method for row in rows for method in row.scores))
    values: dict[str, set[str]] = {}
    for row in rows:
        for key, value in row.swept.items():
            values.setdefault(key, set()).add(value)
    # Runs of one sweep have the same swept settings; without these there is no axis to plot over.
    shared = [key for key in values if all(key in row.swept for row in rows)]
    axes = {key: sorted(values[key], key=axis_place) for key in shared if len(values[key]) > 1}
    return Overview(rows, methods, axes)


def _row(run: RunFolder, columns: Columns) -> RunRow:
    swept = run.result.swept if run.result else {}
    short = short_keys(list(swept))
    of_all = [row for row in score_rows(run.scores, columns) if row.score.type == ALL_TYPES]
    num_documents = sum(fit.num_documents for fit in run.fits)
    seconds = sum(fit.seconds for fit in run.fits)
    return RunRow(
        label=run.label,
        swept={short[key]: value for key, value in swept.items()},
        scores={row.score.method: row.score for row in of_all},
        intervals={row.score.method: row.intervals for row in of_all},
        retrieved=by_retrieval(run.predictions, columns.group_of),
        encoding_seconds=seconds / num_documents if num_documents else None,
        bytes_per_document=run.store.bytes_per_document if run.store else None,
    )
