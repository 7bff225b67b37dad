"""Augmentation of documents that are objects, without files."""

from collections.abc import Sequence

from prag_lightning.augmentation.template import TemplateGenerator
from prag_lightning.documents.records import Augmentation, Document


def augment(documents: Sequence[Document], augmenter: str) -> list[Augmentation]:
    """Return augmentations of documents; those that fail are left out."""
    made: list[Augmentation] = []
    TemplateGenerator().augment(
        documents,
        lambda outcome: (
            made.append(outcome.result) if isinstance(outcome.result, Augmentation) else None
        ),
    )
    return made
