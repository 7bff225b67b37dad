"""Telling whether an augmentation belongs to a document as it is now."""

import pytest

from prag_lightning.documents.digests import augmentation_is_current, text_digest
from prag_lightning.documents.records import Augmentation, Document

_DOCUMENT = Document(id="heron", title="Heron", text="The Heron was built in 1974.")


def _augmentation(digest: str | None) -> Augmentation:
    return Augmentation(document_id="heron", rewrites=["It is old."], qas=[], text_digest=digest)


@pytest.mark.parametrize(
    "change",
    [
        {"text": "The Heron was built in 1975."},
        {"text": "The Heron was built in 1974. "},
        {"title": "The Heron"},
        {"title": "HeronThe", "text": " Heron was built in 1974."},
    ],
    ids=["another word", "one more space", "another title", "a word moved into the title"],
)
def test_an_augmentation_belongs_to_the_text_it_was_made_from_and_to_no_other(
    change: dict[str, str],
) -> None:
    augmentation = _augmentation(text_digest(_DOCUMENT))
    assert augmentation_is_current(_DOCUMENT, augmentation)
    assert not augmentation_is_current(_DOCUMENT.model_copy(update=change), augmentation)


def test_the_id_and_the_form_of_unicode_do_not_count() -> None:
    composed, decomposed = (
        Document(id=name, title="Caf\u00e9", text=text)
        for name, text in (("a", "Z\u00fcrich"), ("b", "Zu\u0308rich"))
    )
    assert text_digest(composed) == text_digest(decomposed)


def test_an_augmentation_that_names_no_text_is_taken_for_current() -> None:
    assert augmentation_is_current(_DOCUMENT, _augmentation(None))


def test_the_digest_of_a_text_is_the_same_on_every_machine() -> None:
    # sha256sum of ["Heron", "The Heron was built in 1974."]
    assert text_digest(_DOCUMENT) == "34134808c6ac936f"
