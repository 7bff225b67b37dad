"""How much of each document's augmentation is trained on."""

from collections import Counter
from dataclasses import dataclass

from prag_lightning.documents.records import Augmentation

REWRITES, PAIRS, UNANSWERABLE = "rewrites", "question-answer pairs", "unanswerable questions"


@dataclass(frozen=True)
class AugmentationLimits:
    """The most rewrites and question-answer pairs to train on; None means all of them.

    Args:
        num_rewrites: How many rewrites, taken from the first on.
        num_qas: How many question-answer pairs; with 0, the passage and its rewrites are trained
            on as plain text.
    """

    num_rewrites: int | None = None
    num_qas: int | None = None

    @property
    def take_nothing(self) -> bool:
        """Whether no augmentation is needed."""
        return self.num_rewrites == 0 == self.num_qas

    @property
    def settings(self) -> dict[str, str | int]:
        """The limits that are set, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def cut(self, augmentation: Augmentation) -> Augmentation:
        """Return the augmentation within the limits."""
        if not self.settings:
            return augmentation
        rewrites = augmentation.rewrites[: self.num_rewrites]
        qas = augmentation.qas[: self.num_qas]
        return augmentation.model_copy(update={"rewrites": rewrites, "qas": qas})

    def short(self, augmentation: Augmentation) -> Counter[str]:
        """Return, for each kind, 1 if there are fewer than the limit."""
        if not self.settings:
            return Counter()
        return Counter(
            {
                REWRITES: len(augmentation.rewrites) < (self.num_rewrites or 0),
                PAIRS: len(augmentation.qas) < (self.num_qas or 0),
            }
        )
