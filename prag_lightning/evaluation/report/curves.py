"""Loss curves over the steps of a document, across all documents."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prag_lightning.evaluation.report.run_folder import Losses


@dataclass(frozen=True)
class LossCurve:
    """The losses of documents at each step that a document takes.

    Args:
        num_documents: Number of documents that reached each step, shape ``(steps,)``.
        low: The loss's 10 % quantile over documents, shape ``(steps,)`` like the next two.
        median: Its median.
        high: Its 90 % quantile.
        pass_means: Mean loss of each pass over the prompts, over all documents; empty if passes
            differ in length between documents.
        pass_length: Steps of a pass; None if documents differ.
    """

    num_documents: NDArray[np.int64]
    low: NDArray[np.float64]
    median: NDArray[np.float64]
    high: NDArray[np.float64]
    pass_means: list[float]
    pass_length: int | None


def loss_curve(losses: Sequence[Losses], passes: int) -> LossCurve | None:
    """Return the loss curve of some documents; None if there are no losses.

    Args:
        losses: The losses of each document, step by step; None where not finite.
        passes: Number of passes over each document's prompts.
    """
    longest = max(map(len, losses), default=0)
    table = np.full((len(losses), longest), np.nan)
    for row, values in zip(table, losses, strict=True):
        row[: len(values)] = [np.nan if value is None else value for value in values]
    if np.isnan(table).all():
        return None
    counts = (~np.isnan(table)).sum(axis=0)
    # Steps at which all documents failed are left out.
    table, counts = table[:, counts > 0], counts[counts > 0]
    low, median, high = np.nanquantile(table, [0.1, 0.5, 0.9], axis=0)
    per_pass = {len(values) // passes for values in losses}
    halves = [np.array_split(np.array(v, dtype=float), passes) for v in losses]
    means = [float(np.nanmean(np.concatenate(parts))) for parts in zip(*halves, strict=True)]
    length = per_pass.pop() if len(per_pass) == 1 else None
    return LossCurve(counts, low, median, high, means, length)
