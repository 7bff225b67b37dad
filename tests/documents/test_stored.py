"""Documents that are read when they are asked for."""

import os
import pickle
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from prag_lightning.documents.folder import read_corpus
from prag_lightning.documents.records import Document, write_records
from prag_lightning.documents.stored import StoredDocuments, StoredRecords

DOCUMENTS = [
    Document(id=f"d{n}", title="É", text=f"Text {n}, " + "word " * 200) for n in range(500)
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_records(tmp_path / "documents.jsonl", DOCUMENTS)
    return tmp_path / "documents.jsonl"


def test_every_document_is_found_by_its_id_in_the_order_of_the_file(file: Path) -> None:
    stored = StoredDocuments(file)
    assert list(stored) == [document.id for document in DOCUMENTS]
    assert list(stored.values()) == DOCUMENTS
    assert len(stored) == 500
    assert "d499" in stored
    assert "d500" not in stored
    with pytest.raises(KeyError, match="d500"):
        stored["d500"]


def test_texts_are_not_held_in_memory(file: Path) -> None:
    tracemalloc.start()
    stored = StoredDocuments(file)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(stored) == 500
    assert held < 0.3 * file.stat().st_size


def test_a_replaced_file_is_read_as_it_was(file: Path) -> None:
    stored = StoredDocuments(file)
    write_records(file, [Document(id="new", text="new")])
    assert stored["d7"] == DOCUMENTS[7]
    assert list(StoredDocuments(file)) == ["new"]


def test_threads_and_worker_processes_read_at_once(file: Path) -> None:
    stored = pickle.loads(pickle.dumps(StoredDocuments(file)))
    ids = [document.id for document in DOCUMENTS] * 4
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(stored.__getitem__, ids)) == DOCUMENTS * 4


def test_the_file_is_closed_with_the_last_reference(file: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    stored = StoredDocuments(file)
    assert len(os.listdir("/proc/self/fd")) == before + 1
    del stored
    assert len(os.listdir("/proc/self/fd")) == before


def test_repetitions_count_once_and_two_documents_of_one_id_are_refused(tmp_path: Path) -> None:
    first, other = DOCUMENTS[0], DOCUMENTS[1]
    file = tmp_path / "documents.jsonl"
    write_records(file, [first, other, first])
    assert list(StoredDocuments(file).values()) == [first, other]
    write_records(file, [first, other, first.model_copy(update={"text": "changed"})])
    with pytest.raises(ValueError, match=r"id 'd0' stands for two .* in lines 1 and 3; keep one"):
        StoredDocuments(file)


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_a_file_without_documents_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "documents.jsonl").write_text(content)
    with pytest.raises(ValueError, match=r"documents\.jsonl: there is no document in it"):
        StoredDocuments(tmp_path / "documents.jsonl")


def test_of_a_corpus_and_documents_those_count_that_adapters_are_made_of(tmp_path: Path) -> None:
    write_records(tmp_path / "corpus.jsonl", [DOCUMENTS[0], DOCUMENTS[1]])
    mine = DOCUMENTS[0].model_copy(update={"text": "mine"})
    write_records(tmp_path / "documents.jsonl", [mine])
    assert dict(read_corpus(tmp_path)) == {"d0": mine, "d1": DOCUMENTS[1]}


def test_of_lines_that_are_not_wanted_only_the_id_is_read(tmp_path: Path) -> None:
    file = tmp_path / "documents.jsonl"
    write_records(file, DOCUMENTS[:3])
    with file.open("a") as lines:
        lines.write('{"_id": "no text"}\n')
    stored = StoredRecords(file, Document, {"d1"}.__contains__)
    assert dict(stored) == {"d1": DOCUMENTS[1]}
    assert len(StoredRecords(file, Document, {"d9"}.__contains__)) == 0
    with pytest.raises(ValueError, match=r"documents\.jsonl:4: field 'text'"):
        StoredDocuments(file)
    with file.open("a") as lines:
        lines.write('{"title": "no id"}\n')
    with pytest.raises(ValueError, match=r"documents\.jsonl:5: field 'id'"):
        StoredRecords(file, Document, {"d1"}.__contains__)
