"""Means over questions: exact match, token F1, and the likelihood of the accepted answer."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection


class ScoredAnswer(Protocol):
    """An answer with its scores; `Prediction` is one."""

    em: float
    f1: float
    precision: float
    recall: float
    answer_nll: float | None


class QuestionMean(Metric):
    """Mean over questions of one score of their answers, in double precision.

    Answers without that score (None or NaN) do not count. States are sums, so the mean is exact
    for any split of the questions over batches and processes.

    Args:
        score: Attribute of a `ScoredAnswer`.
    """

    higher_is_better: bool | None = True
    is_differentiable = False
    full_state_update = False

    total: Tensor
    num_questions: Tensor

    def __init__(self, score: str) -> None:
        super().__init__()
        self.score = score
        zero = torch.tensor(0.0, dtype=torch.float64)
        self.add_state("total", zero, dist_reduce_fx="sum")
        self.add_state("num_questions", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, answers: Sequence[ScoredAnswer]) -> None:
        """Count the answers to some questions."""
        scores = [score for one in answers if (score := getattr(one, self.score)) is not None]
        values = torch.tensor(scores, dtype=torch.float64, device=self.total.device)
        known = values[~values.isnan()]
        self.total += known.sum()
        self.num_questions += len(known)

    def compute(self) -> Tensor:
        """Return the mean so far, a scalar; NaN if no question counted."""
        return self.total / self.num_questions


class NLLMean(QuestionMean):
    """Mean over questions of the negative log-likelihood of an accepted answer's tokens."""

    higher_is_better = False

    def __init__(self) -> None:
        super().__init__("answer_nll")


def question_metrics() -> MetricCollection:
    """Return the means over questions, as ``em``, ``f1``, ``precision``, ``recall`` and ``nll``.

    ``nll`` is the mean negative log-likelihood of the accepted answer's tokens, in nats per token.
    All are updated with a sequence of `ScoredAnswer`, whose scores are only averaged.
    """
    metrics: dict[str, Metric | MetricCollection] = {
        name: QuestionMean(name) for name in ("em", "f1", "precision", "recall")
    }
    metrics["nll"] = NLLMean()
    # Groups would merge metrics that were equal once, as EM and F1 are if all answers are right.
    return MetricCollection(metrics, compute_groups=False)
