"""Retrievers by short name, class path, or as objects."""

from pathlib import Path
from typing import Any

import pytest

from prag_lightning.documents.rankings import RetrievedDocument, write_run
from prag_lightning.documents.records import Document, Question, write_records
from prag_lightning.retrieval.bm25 import BM25Retriever
from prag_lightning.retrieval.by_name import SHORT_NAMES, make_retriever
from prag_lightning.retrieval.given import GivenRetriever

ASKED = [Question(id="q", question="Where is Rome?", document_ids=["b"])]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_records(tmp_path / "documents.jsonl", [Document(id="a", text="Rome is in Italy.")])
    write_run(tmp_path / "retrieved.trec", [("q", [RetrievedDocument("c", 1.0)])], tag="x")
    return tmp_path


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        (None, "a"),
        ("bm25", "a"),
        ("given", "b"),
        ("run_file", "c"),
        ("prag_lightning.retrieval.given.GivenRetriever", "b"),
        ({"class_path": "bm25"}, "a"),
        ({"class_path": "given", "init_args": {}}, "b"),
        ({"class_path": "given", "init_args": None}, "b"),
        (GivenRetriever(), "b"),
    ],
)
def test_a_setting_means_a_retriever(folder: Path, spec: Any, found: str) -> None:
    retriever = make_retriever(spec, folder, folder / "index")
    assert [one.document_id for one in retriever.retrieve(ASKED, 1)[0]] == [found]


def test_arguments_replace_what_a_short_name_would_take(folder: Path) -> None:
    write_run(folder / "other.trec", [("q", [RetrievedDocument("d", 1.0)])], tag="x")
    for name in ("run_file", SHORT_NAMES["run_file"]):
        spec = {"class_path": name, "init_args": {"run_file": str(folder / "other.trec")}}
        found = make_retriever(spec, folder, folder / "index").retrieve(ASKED, 1)
        assert found == [[("d", 1.0)]]
    make_retriever(None, folder, folder / "mine")
    spec = {"class_path": "bm25", "init_args": {"index_dir": str(folder / "mine")}}
    assert isinstance(make_retriever(spec, folder, folder / "index"), BM25Retriever)
    assert not (folder / "index").exists()


def test_an_index_is_not_built_for_a_retriever_that_needs_none(folder: Path) -> None:
    make_retriever("given", folder, folder / "index")
    assert not (folder / "index").exists()


def test_dense_knows_its_folder(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"dense_index: there is no dense index; build it"):
        make_retriever("dense", folder, folder / "index")


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ("bm52", "there is no retriever 'bm52'; did you mean 'bm25'"),
        ("", "there is no retriever ''"),
        ("..given", "there is no retriever '..given'"),
        ("no_such.Thing", "'no_such.Thing' cannot be imported: No module named 'no_such'"),
        ("os.path", "'os.path' does not derive from prag_lightning.retrieval.base.Retriever"),
        ("prag_lightning.retrieval.bm25.Nothing", "cannot be imported: .*Nothing"),
        (3, "retriever 3: give a name or an import path, .*; names are bm25"),
        ({}, "give a name or an import path"),
        ({"class_path": None}, "give a name or an import path"),
        (
            {"class_path": "given", "init_args": [1]},
            "give a name or an import path",
        ),
        ({"class_path": "given", "top_k": 1}, "give a name or an import path"),
        ({"class_path": "given", "init_args": {"k": 1}}, "'given' has no setting 'k'"),
        ({"class_path": "elasticsearch"}, "retriever 'elasticsearch': .*part.index"),
        (
            {"class_path": "elasticsearch", "init_args": {"index": 3}},
            "retriever 'elasticsearch': .*Expected a <class 'str'>",
        ),
    ],
)
def test_what_means_no_retriever_is_refused_in_one_line(
    folder: Path, spec: Any, problem: str
) -> None:
    with pytest.raises(ValueError, match=problem) as refused:
        make_retriever(spec, folder, folder / "index")
    assert "\n" not in str(refused.value)


def test_a_password_is_never_shown(folder: Path) -> None:
    for init_args in (
        {"index": "wiki", "url": "http://me:s3cret@host"},
        {"index": "wiki", "url": ["http://me:s3cret@host"]},
        {"index": "wiki", "adress": "http://me:s3cret@host"},
    ):
        with pytest.raises(ValueError, match=r"http://host|adress") as refused:
            make_retriever({"class_path": "elasticsearch", "init_args": init_args}, folder, folder)
        assert "s3cret" not in str(refused.value)
