"""A conversion into a folder that has files in it."""

import json
from pathlib import Path

import pytest

from prag_lightning.documents.records import Document, read_records
from prag_lightning.retrieval.bm25 import build_index
from tests.documents.sources import SAMPLES, prag_data


def test_a_second_conversion_replaces_the_first_as_a_whole_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    prag_data("convert", "published", SAMPLES / "published", out)
    (out / "index").mkdir()
    (out / "mine.txt").write_text("mine")
    capsys.readouterr()
    prag_data("convert", "jsonl", SAMPLES / "documents.jsonl", out)
    assert sorted(path.name for path in out.iterdir()) == [
        *("documents.jsonl", "index", "mine.txt", "origin.json")
    ]
    assert capsys.readouterr().out.splitlines() == [
        f"{out}: 2 documents",
        f"{out}: the files of an earlier run are replaced",
        f"{out}: removed, for this run has none: augmentations.jsonl, questions.jsonl, "
        "retrieved.trec",
        f"{out}: kept, though made from the earlier documents: index",
    ]
    origin = json.loads((out / "origin.json").read_text())
    assert origin["format"] == "jsonl"
    assert origin["files"] == ["documents.jsonl"]


def test_augmentations_that_another_command_made_are_kept_and_never_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    prag_data("convert", "jsonl", SAMPLES / "documents.jsonl", out)
    (out / "augmentations.jsonl").write_text("hours of work")
    prag_data("convert", "jsonl", SAMPLES / "documents.jsonl", out)
    assert "kept, though made from the earlier documents: augm" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"augmentations\.jsonl: is there already, and not from"):
        prag_data("convert", "published", SAMPLES / "published", out)
    assert (out / "augmentations.jsonl").read_text() == "hours of work"
    assert len(list(read_records(out / "documents.jsonl", Document))) == 2


def test_documents_that_no_conversion_wrote_are_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "documents.jsonl").write_text("mine")
    with pytest.raises(ValueError, match=r"documents\.jsonl: is there already, and not from this"):
        prag_data("convert", "jsonl", SAMPLES / "documents.jsonl", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["documents.jsonl"]
    assert (tmp_path / "documents.jsonl").read_text() == "mine"


def test_what_is_found_for_questions_replaces_what_was_found_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prag_data("convert", "jsonl", SAMPLES / "documents.jsonl", tmp_path / "wiki")
    corpus = tmp_path / "wiki" / "documents.jsonl"
    build_index(read_records(corpus, Document), tmp_path / "index", corpus)
    (tmp_path / "q.jsonl").write_text('{"id": "q", "question": "Which river is the Pell?"}\n')
    words = ("retrieve", tmp_path / "q.jsonl", corpus, tmp_path / "index")
    for _ in range(2):
        prag_data(*words, tmp_path / "found", "--top_k", 1)
    assert [one.id for one in read_records(tmp_path / "found/documents.jsonl", Document)] == ["a"]
    assert "the files of an earlier run are replaced" in capsys.readouterr().out
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "questions.jsonl").write_text("mine")
    with pytest.raises(ValueError, match=r"questions\.jsonl: is there already, and not from this"):
        prag_data(*words, tmp_path / "mine", "--top_k", 1)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["questions.jsonl"]
