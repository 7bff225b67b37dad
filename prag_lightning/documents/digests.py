"""Digests of documents, to detect augmentations of a text that has since been edited."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import reduce
from itertools import chain

from prag_lightning.documents.records import Augmentation, Document


def text_digest(document: Document) -> str:
    """Return a digest of a document's title and text, 16 hexadecimal digits."""
    content = json.dumps([document.title, document.text])
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def augmentation_is_current(document: Document, augmentation: Augmentation) -> bool:
    """Return whether an augmentation was made from the current text of a document.

    Args:
        document: The document.
        augmentation: Its augmentation. One without a digest, as in older files, is assumed to be
            current.
    """
    return augmentation.text_digest in (None, text_digest(document))


class JoinedAugmentations(Mapping[str, Augmentation]):
    """Augmentations by several augmenters, by document id, joined on access.

    Args:
        sources: The augmentations by each augmenter, in the order in which they are joined. If
            they were made from different texts of a document, the result counts as outdated.
    """

    def __init__(self, sources: Sequence[Mapping[str, Augmentation]]) -> None:
        self._sources = sources

    def __getitem__(self, document_id: str) -> Augmentation:
        """Return the augmentation of a document."""
        found = [source[document_id] for source in self._sources if document_id in source]
        if not found:
            raise KeyError(document_id)
        return reduce(_join, found)

    def __contains__(self, document_id: object) -> bool:
        """Return whether a document has an augmentation, without reading it."""
        return any(document_id in source for source in self._sources)

    def __iter__(self) -> Iterator[str]:
        """Yield the document ids."""
        yield from dict.fromkeys(chain.from_iterable(self._sources))

    def __len__(self) -> int:
        """Return the number of documents."""
        return sum(1 for _ in self)


def by_document(augmentations: Iterable[Augmentation]) -> dict[str, Augmentation]:
    """Return augmentations by document id, several of one document joined."""
    found: dict[str, Augmentation] = {}
    for augmentation in augmentations:
        known = found.get(augmentation.document_id)
        found[augmentation.document_id] = _join(known, augmentation) if known else augmentation
    return found


def _join(first: Augmentation, second: Augmentation) -> Augmentation:
    digests = {d for d in (first.text_digest, second.text_digest) if d is not None}
    return Augmentation(
        document_id=first.document_id,
        rewrites=[*first.rewrites, *second.rewrites],
        qas=[*first.qas, *second.qas],
        unanswerable=[*first.unanswerable, *second.unanswerable],
        # If the digests differ, their concatenation matches no text.
        text_digest=" ".join(sorted(digests)) or None,
    )
