"""Adding documents to a folder: what was there stays, byte for byte."""

from pathlib import Path

import pytest

from prag_lightning.documents.adding import AUGMENTATIONS, add_documents
from prag_lightning.documents.folder import CORPUS, DOCUMENTS, read_corpus
from prag_lightning.documents.records import Augmentation, Document, read_records
from prag_lightning.documents.stored import StoredDocuments

ADA = Document(id="ada", title="Ada", text="Ada was born in Paris.")
BO = Document(id="bo", title="Bo", text="Bo was born in Oslo.")


def augmentation(document: Document) -> Augmentation:
    return Augmentation(document_id=document.id, rewrites=[], qas=[])


@pytest.mark.parametrize("end", ["", "\n", "\n\n"])
def test_documents_join_those_that_are_there(tmp_path: Path, end: str) -> None:
    # With a field that nothing here knows, and without a line break at the end.
    line = '{"id": "ada", "title": "Ada", "text": "Ada was born in Paris.", "year": 1815}'
    for name in (DOCUMENTS, CORPUS):
        (tmp_path / name).write_text(line + end)
    add_documents(tmp_path, [ADA, BO], [augmentation(ADA), augmentation(BO)])
    assert (tmp_path / DOCUMENTS).read_text().startswith(line + (end or "\n"))
    assert list(StoredDocuments(tmp_path / DOCUMENTS).values()) == [ADA, BO]
    assert list(read_corpus(tmp_path)) == ["ada", "bo"]
    made = read_records(tmp_path / AUGMENTATIONS, Augmentation)
    assert [one.document_id for one in made] == ["ada", "bo"]


def test_adding_twice_changes_nothing_and_makes_no_corpus(tmp_path: Path) -> None:
    add_documents(tmp_path, [ADA], [augmentation(ADA)])
    files = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    add_documents(tmp_path, [ADA], [augmentation(ADA)])
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == files
    assert set(files) == {DOCUMENTS, AUGMENTATIONS}


def test_a_document_of_the_corpus_alone_joins_those_to_encode(tmp_path: Path) -> None:
    add_documents(tmp_path, [ADA], [])
    (tmp_path / CORPUS).write_text("".join(one.model_dump_json() + "\n" for one in (ADA, BO)))
    add_documents(tmp_path, [BO], [augmentation(BO)])
    assert list(StoredDocuments(tmp_path / DOCUMENTS).values()) == [ADA, BO]
    assert len((tmp_path / CORPUS).read_text().splitlines()) == 2
