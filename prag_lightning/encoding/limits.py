"""How much of each document's augmentation is trained on."""

from collections import Counter
from dataclasses import dataclass

from prag_lightning.documents.records import Augmentation

REWRITES, PAIRS = "rewrites", "question-answer pairs"


@dataclass(frozen=True)
class AugmentationLimits:
    """The first so many of each kind are trained on; None takes what there is.

    Args:
        num_rewrites: Of the rewrites.
        num_qas: Of the question-answer pairs; without any, the passage and its rewrites are
            trained on as plain text.
    """

    num_rewrites: int | None = None
    num_qas: int | None = None

    @property
    def take_nothing(self) -> bool:
        """Whether no augmentation is needed."""
        return self.num_rewrites == 0 == self.num_qas

    @property
    def settings(self) -> dict[str, str | int]:
        """The limits that there are, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def cut(self, augmentation: Augmentation) -> Augmentation:
        """Return what is trained on."""
        rewrites = augmentation.rewrites[: self.num_rewrites]
        qas = augmentation.qas[: self.num_qas]
        return augmentation.model_copy(update={"rewrites": rewrites, "qas": qas})

    def short(self, augmentation: Augmentation) -> Counter[str]:
        """Return, for each kind, 1 if there are fewer than asked for."""
        return Counter(
            {
                REWRITES: len(augmentation.rewrites) < (self.num_rewrites or 0),
                PAIRS: len(augmentation.qas) < (self.num_qas or 0),
            }
        )
