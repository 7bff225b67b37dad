"""Augmenting documents in memory, without files."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from prag_lightning.augmentation.base import Augmenter
from prag_lightning.augmentation.by_name import make_augmenter
from prag_lightning.augmentation.deliveries import collect_outcomes
from prag_lightning.documents.records import Augmentation, Document


def augment_all(
    documents: Sequence[Document], augmenter: Augmenter | str | Mapping[str, Any] = "template"
) -> list[Augmentation]:
    """Augment documents, and return the augmentations.

    Documents that could not be augmented are left out, and reported on standard error.

    Args:
        documents: Documents with distinct ids.
        augmenter: An augmenter, or an argument for `make_augmenter`.

    Returns:
        The augmentations, in the order of the documents.

    Raises:
        ValueError: If there is no such augmenter, or two documents share an id.

    >>> heron = Document(id="heron", title="Heron", text="Heron was built in Turku.")
    >>> augment_all([heron])[0].qas[0].question
    'Where was Heron built?'
    """
    outcomes = collect_outcomes(documents, make_augmenter(augmenter))
    failed = [outcome.failure for outcome in outcomes if outcome.augmentation is None]
    if failed and failed[0] is not None:
        print(
            f"{len(failed)} of {len(documents)} documents could not be augmented: "
            f"'{failed[0].document_id}' ({failed[0].reason})"
            + (f" and {len(failed) - 1} more" if len(failed) > 1 else ""),
            file=sys.stderr,
        )
    return [outcome.augmentation for outcome in outcomes if outcome.augmentation is not None]
