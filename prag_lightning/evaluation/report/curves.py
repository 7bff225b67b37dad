"""How losses fall: over the steps within a document, over all documents."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prag_lightning.evaluation.report.run_folder import Losses


@dataclass(frozen=True)
class LossCurve:
    """The losses of documents at each step that a document takes.

    Args:
        num_documents: How many documents got as far as each step, shape ``(steps,)``.
        low: A tenth of the documents have a lower loss, shape ``(steps,)`` like the next two.
        median: Half of them have a lower loss.
        high: A tenth of the documents have a higher loss.
        pass_means: For each pass over a document's prompts the mean loss, over all documents; empty
            where a pass is not the same for all of them.
        pass_length: Steps of a pass; None where documents differ.
    """

    num_documents: NDArray[np.int64]
    low: NDArray[np.float64]
    median: NDArray[np.float64]
    high: NDArray[np.float64]
    pass_means: list[float]
    pass_length: int | None


def loss_curve(losses: Sequence[Losses], passes: int) -> LossCurve | None:
    """Return the curve of some documents' losses; None if there is no loss.

    Args:
        losses: The losses of each document, step by step; None is no finite number.
        passes: How often each document's prompts were gone through.
    """
    longest = max(map(len, losses), default=0)
    table = np.full((len(losses), longest), np.nan)
    for row, values in zip(table, losses, strict=True):
        row[: len(values)] = [np.nan if value is None else value for value in values]
    if np.isnan(table).all():
        return None
    counts = (~np.isnan(table)).sum(axis=0)
    # Where all documents failed there is nothing to show.
    table, counts = table[:, counts > 0], counts[counts > 0]
    low, median, high = np.nanquantile(table, [0.1, 0.5, 0.9], axis=0)
    per_pass = {len(values) // passes for values in losses}
    halves = [np.array_split(np.array(v, dtype=float), passes) for v in losses]
    means = [float(np.nanmean(np.concatenate(parts))) for parts in zip(*halves, strict=True)]
    length = per_pass.pop() if len(per_pass) == 1 else None
    return LossCurve(counts, low, median, high, means, length)
