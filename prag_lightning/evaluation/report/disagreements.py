"""Questions that one method answers and another does not."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from prag_lightning.evaluation.scores import Prediction

_PAIRS = (
    ("prag", "closed_book"),
    ("prag", "rag"),
    ("rag", "prag"),
    ("own", "prag"),
    ("combine", "rag"),
    ("rag", "combine"),
)
_MOST_EXAMPLES = 2


@dataclass(frozen=True)
class Disagreement:
    """Two methods, of which only one is right.

    Args:
        right: The method that is right.
        wrong: The method that is wrong.
        count: Number of such questions.
        examples: The answers of all methods to some of them.
    """

    right: str
    wrong: str
    count: int
    examples: list[list[Prediction]]


def find_disagreements(predictions: Sequence[Prediction], seed: int = 0) -> list[Disagreement]:
    """Return pairs of methods that disagree, with examples drawn at random.

    An answer is right on an exact match, and wrong if it shares no word with any accepted answer.

    Args:
        predictions: The predictions of every method.
        seed: Seed of the draw of examples.
    """
    by_question: dict[str, dict[str, Prediction]] = {}
    for prediction in predictions:
        by_question.setdefault(prediction.question_id, {})[prediction.method] = prediction
    draw = random.Random(seed)
    found = []
    for right, wrong in _PAIRS:
        said = [
            list(by_method.values())
            for by_method in by_question.values()
            if right in by_method and wrong in by_method
            if by_method[right].em == 1 and by_method[wrong].f1 == 0
        ]
        if said:
            examples = draw.sample(said, min(_MOST_EXAMPLES, len(said)))
            found.append(Disagreement(right, wrong, len(said), examples))
    return found
