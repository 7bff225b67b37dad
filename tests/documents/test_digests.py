"""Telling whether an augmentation belongs to a document as it is now."""

from pathlib import Path

import pytest

from prag_lightning.demo.world import write_world
from prag_lightning.documents.digests import augmentation_is_current, text_digest
from prag_lightning.documents.records import Augmentation, Document, read_records
from tests.documents.sources import SAMPLES, prag_data

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


@pytest.mark.parametrize("origin", ["published", "demo"])
def test_the_augmentations_that_come_with_documents_name_their_texts(
    origin: str, tmp_path: Path
) -> None:
    if origin == "published":
        prag_data("convert", "published", SAMPLES / "published", tmp_path)
    else:
        write_world(tmp_path, num_people=4, seed=0, split="test")
    documents = {d.id: d for d in read_records(tmp_path / "documents.jsonl", Document)}
    made = list(read_records(tmp_path / "augmentations.jsonl", Augmentation))
    assert made
    for augmentation in made:
        document = documents[augmentation.document_id]
        assert augmentation_is_current(document, augmentation)
        edited = document.model_copy(update={"text": f"{document.text} And more."})
        assert not augmentation_is_current(edited, augmentation)
