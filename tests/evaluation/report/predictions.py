"""Predictions made by hand."""

from collections.abc import Mapping, Sequence

from prag_lightning.answering.answers import Evidence
from prag_lightning.evaluation.scores import Prediction

# What scores so against "yes".
_SAID = {0.0: "no", 0.5: "yes no no", 1.0: "yes"}


def prediction(
    method: str, number: int, right: float, *, type: str | None = None, nll: float = 1.0
) -> Prediction:
    """Return what a method said to a question; ``right`` is its F1, and EM where it is 1."""
    return Prediction(
        method=method,
        question_id=f"q{number}",
        question=f"Question {number}?",
        text=f" {_SAID[right]}.",
        prediction=_SAID[right],
        passages=[],
        adapters=[Evidence(document_id="d", score=2.0, weight=0.5)],
        missing=[],
        type=type,
        answers=["yes"],
        em=float(right == 1),
        f1=right,
        precision=right,
        recall=right,
        answer_nll=nll,
        seconds=0.5,
    )


def predictions(
    right: Mapping[str, Sequence[float]], nll: Mapping[str, float] | None = None
) -> list[Prediction]:
    """Return what methods said, from the F1 of each question."""
    return [
        prediction(method, number, value, nll=(nll or {}).get(method, 1.0))
        for method, values in right.items()
        for number, value in enumerate(values)
    ]
