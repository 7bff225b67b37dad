"""Which text an augmentation was made from, so that an edited document gets a new one."""

import hashlib
import json
from collections.abc import Iterable
from itertools import chain

from prag_lightning.documents.records import Augmentation, Document


def text_digest(document: Document) -> str:
    """Return a digest of a document's title and text, 16 hexadecimal digits."""
    content = json.dumps([document.title, document.text])
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def augmentation_is_current(document: Document, augmentation: Augmentation) -> bool:
    """Return whether an augmentation belongs to a document as it is now.

    Args:
        document: The document.
        augmentation: What was made of it. Without a digest, as older files have it, it is taken for
            current: nothing proves that the text has changed.
    """
    return augmentation.text_digest in (None, text_digest(document))


def joined(sources: Iterable[Iterable[Augmentation]]) -> dict[str, Augmentation]:
    """Return what several augmenters made of each document, put together, by document id.

    Args:
        sources: The augmentations of each augmenter, in the order in which they are put together.
            One that belongs to another text than the others makes the whole outdated.
    """
    found: dict[str, Augmentation] = {}
    for augmentation in chain.from_iterable(sources):
        known = found.get(augmentation.document_id)
        found[augmentation.document_id] = _join(known, augmentation) if known else augmentation
    return found


def _join(first: Augmentation, second: Augmentation) -> Augmentation:
    digests = {d for d in (first.text_digest, second.text_digest) if d is not None}
    return Augmentation(
        document_id=first.document_id,
        rewrites=[*first.rewrites, *second.rewrites],
        qas=[*first.qas, *second.qas],
        # That of no text, if they differ.
        text_digest=" ".join(sorted(digests)) or None,
    )
