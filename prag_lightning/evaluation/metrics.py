"""How good answers are: exact match, token F1, and the likelihood of the accepted answer."""

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

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


class _QuestionMean(Metric):
    """Means over questions, exact for any split of them over batches and processes."""

    is_differentiable = False
    full_state_update = False

    total: Tensor
    num_questions: Tensor

    def __init__(self, num_values: int) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(num_values), dist_reduce_fx="sum")
        self.add_state("num_questions", torch.tensor(0), dist_reduce_fx="sum")

    def _add(self, values: Tensor) -> None:
        """Count values of shape ``(questions, num_values)``."""
        self.total += values.sum(dim=0)
        self.num_questions += len(values)

    def _add_scored(
        self,
        score: Callable[[str, Sequence[str]], Sequence[float]],
        predictions: Sequence[str],
        answers: Sequence[Sequence[str]],
    ) -> None:
        rows = [score(*pair) for pair in zip(predictions, answers, strict=True)]
        self._add(torch.tensor(rows, device=self.device).reshape(len(rows), len(self.total)))


class ExactMatch(_QuestionMean):
    """Mean of `exact_match` over questions.

    >>> metric = ExactMatch()
    >>> metric.update(["Paris", "Rome"], [["paris"], ["Oslo"]])
    >>> metric.compute()
    tensor(0.5000)
    """

    higher_is_better = True

    def __init__(self) -> None:
        super().__init__(num_values=1)

    def update(self, predictions: Sequence[str], answers: Sequence[Sequence[str]]) -> None:
        """Count extracted predictions, each with its question's accepted answers."""
        self._add_scored(lambda *pair: (exact_match(*pair),), predictions, answers)

    def compute(self) -> Tensor:
        """Return the mean so far, a scalar."""
        return self.total[0] / self.num_questions


class TokenF1(_QuestionMean):
    """Means of F1, precision and recall of `token_f1` over questions."""

    higher_is_better = True

    def __init__(self) -> None:
        super().__init__(num_values=3)

    def update(self, predictions: Sequence[str], answers: Sequence[Sequence[str]]) -> None:
        """Count extracted predictions, each with its question's accepted answers."""
        self._add_scored(token_f1, predictions, answers)

    def compute(self) -> dict[str, Tensor]:
        """Return the means so far, scalars by the names ``f1``, ``precision`` and ``recall``."""
        return dict(zip(F1Score._fields, self.total / self.num_questions, strict=True))


class AnswerNLL(_QuestionMean):
    """Mean over questions of an accepted answer's negative log-likelihood per token, in nats."""

    higher_is_better = False

    def __init__(self) -> None:
        super().__init__(num_values=1)

    def update(self, nll: Tensor) -> None:
        """Count questions by their mean token NLL, shape ``(questions,)``."""
        self._add(nll.detach().unsqueeze(1))

    def compute(self) -> Tensor:
        """Return the mean so far, a scalar."""
        return self.total[0] / self.num_questions
