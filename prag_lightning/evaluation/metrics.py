"""How good answers are: exact match and token F1 of one, and the means over questions."""

import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLE = re.compile(r"\b(a|an|the)\b")
_CLOSED_ANSWERS = frozenset({"yes", "no", "noanswer"})


class F1Score(NamedTuple):
    """Overlap of a prediction's and an answer's tokens, each number from 0 to 1."""

    f1: float
    precision: float
    recall: float


def normalize_answer(text: str) -> str:
    """Return the text in lower case without ASCII punctuation, articles and surplus spaces.

    The normalization of SQuAD (Rajpurkar et al. 2016, arXiv:1606.05250).

    >>> normalize_answer("The  Chief of Protocol!")
    'chief of protocol'
    """
    bare = text.lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLE.sub(" ", bare).split())


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    """Return 1.0 if the normalized prediction is one of the normalized answers, else 0.0.

    Raises:
        ValueError: If there is no answer to compare with.
    """
    _require_answers(prediction, answers)
    normalized = normalize_answer(prediction)
    return float(any(normalized == normalize_answer(answer) for answer in answers))


def token_f1(prediction: str, answers: Sequence[str]) -> F1Score:
    """Return F1, precision and recall over tokens, each the best that any answer gives.

    As published, the three may come from different answers, and ``yes``, ``no`` and ``noanswer``
    count only where prediction and answer are the same.

    Raises:
        ValueError: If there is no answer to compare with.
    """
    _require_answers(prediction, answers)
    scores = [_pair_f1(normalize_answer(prediction), normalize_answer(one)) for one in answers]
    return F1Score(*(max(column) for column in zip(*scores, strict=True)))


def _pair_f1(prediction: str, answer: str) -> F1Score:
    if prediction != answer and not _CLOSED_ANSWERS.isdisjoint((prediction, answer)):
        return F1Score(0.0, 0.0, 0.0)
    predicted, accepted = Counter(prediction.split()), Counter(answer.split())
    num_common = (predicted & accepted).total()
    if num_common == 0:
        return F1Score(0.0, 0.0, 0.0)
    precision = num_common / predicted.total()
    recall = num_common / accepted.total()
    return F1Score(2 * precision * recall / (precision + recall), precision, recall)


def _require_answers(prediction: str, answers: Sequence[str]) -> None:
    if not answers:
        raise ValueError(
            f"the prediction '{prediction}' has no accepted answer to compare with; "
            "give the question at least one answer, or leave it out of the evaluation"
        )


class ScoredAnswer(Protocol):
    """An answer with its scores; `Prediction` is one."""

    em: float
    f1: float
    precision: float
    recall: float
    answer_nll: float | None


class QuestionMean(Metric):
    """Mean over questions of one score of their answers, in double precision.

    Answers without that score (None or NaN) do not count. Exact for any split of the questions
    over batches and processes: states add up.

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
    All are updated with a sequence of `ScoredAnswer`, and nothing is scored again.
    """
    metrics: dict[str, Metric | MetricCollection] = {
        name: QuestionMean(name) for name in ("em", "f1", "precision", "recall")
    }
    metrics["nll"] = NLLMean()
    # Groups share the state of metrics that were equal once, as EM and F1 are when all is right.
    return MetricCollection(metrics, compute_groups=False)
