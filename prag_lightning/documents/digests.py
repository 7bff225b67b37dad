"""Which text an augmentation was made from, so that an edited document gets a new one."""

import hashlib
import json

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
