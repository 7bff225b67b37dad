"""The index of a folder of documents, built and kept up to date by itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from prag_lightning.documents.records import Document, Question, write_records
from prag_lightning.retrieval.bm25 import build_index
from prag_lightning.retrieval.default_index import build_missing_index, find_index, open_index

HERON = [Document(id="heron", text="The heron belongs to Ada.")]
EDITED = [Document(id="heron", text="The heron belongs to Bo."), Document(id="owl", text="Owl.")]


def write(folder: Path, documents: list[Document], name: str = "documents.jsonl") -> Path:
    write_records(folder / name, documents)
    return folder


def found(folder: Path, index_dir: Path, words: str) -> list[str]:
    [ranking] = open_index(folder, index_dir).retrieve([Question(id="q", question=words)], 9)
    return [one.document_id for one in ranking]


def test_an_index_is_built_where_there_is_none(tmp_path: Path) -> None:
    folder = write(tmp_path / "data", HERON)
    assert find_index(folder, tmp_path) == tmp_path / "index"
    build_missing_index(folder, tmp_path / "index")
    stamp = (tmp_path / "index").stat().st_mtime_ns
    assert found(folder, tmp_path / "index", "Ada") == ["heron"]
    build_missing_index(folder, tmp_path / "index")
    assert (tmp_path / "index").stat().st_mtime_ns == stamp
    assert not (folder / "index").exists()


def test_an_index_beside_the_documents_is_taken(tmp_path: Path) -> None:
    folder = write(tmp_path / "data", HERON)
    build_missing_index(folder, folder / "index")
    assert find_index(folder, tmp_path) == folder / "index"


@pytest.mark.parametrize("place", ["data/index", "run/index"])
def test_an_index_of_changed_documents_is_built_again_and_that_is_said(
    tmp_path: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, index_dir = write(tmp_path / "data", HERON), tmp_path / place
    assert found(folder, index_dir, "Bo owl") == []
    write(folder, EDITED)
    assert capsys.readouterr().err == ""
    assert found(folder, index_dir, "Bo owl") == ["owl", "heron"]
    assert capsys.readouterr().err == (
        f"{index_dir}: building it again, for {folder / 'documents.jsonl'} is not what it was "
        "built from\n"
    )
    assert found(folder, index_dir, "Ada") == []


def test_a_change_at_once_and_of_the_same_size_is_noticed(tmp_path: Path) -> None:
    folder = write(tmp_path / "data", HERON)
    documents = folder / "documents.jsonl"
    before = documents.stat()
    build_missing_index(folder, tmp_path / "index")
    write(folder, [Document(id="heron", text="The heron belongs to Eva.")])
    os.utime(documents, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert documents.stat().st_size == before.st_size
    assert found(folder, tmp_path / "index", "Eva") == ["heron"]


def test_a_folder_that_gets_a_corpus_is_indexed_again(tmp_path: Path) -> None:
    folder = write(tmp_path / "data", HERON)
    assert found(folder, folder / "index", "owl") == []
    write(folder, EDITED, "corpus.jsonl")
    assert found(folder, folder / "index", "owl") == ["owl"]


def test_a_folder_that_was_moved_with_its_index_still_knows_it_as_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("data"), HERON)
    build_missing_index(Path("data"), Path("data/index"))
    Path("data").rename("moved")
    monkeypatch.chdir("/")
    write(tmp_path / "moved", EDITED)
    assert found(tmp_path / "moved", tmp_path / "moved/index", "owl") == ["owl"]


def test_an_index_of_another_corpus_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    folder, other = write(tmp_path / "data", HERON), write(tmp_path / "other", EDITED)
    index_dir = folder / "index"
    for corpus in (other / "documents.jsonl", None):
        build_index(EDITED, index_dir, corpus)
        content = (index_dir / "prag_index.json").read_text()
        with pytest.raises(ValueError, match=r"was not built from .*documents.jsonl as it is now"):
            open_index(folder, index_dir)
        assert (index_dir / "prag_index.json").read_text() == content


def test_an_index_of_another_kind_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "data", HERON)
    build_missing_index(folder, folder / "index")
    manifest = folder / "index/prag_index.json"
    manifest.write_text(manifest.read_text().replace("bm25", "dense"))
    with pytest.raises(ValueError, match="is a dense index of version 2, not a bm25 index"):
        build_missing_index(folder, folder / "index")


def test_an_index_of_an_earlier_version_is_built_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write(tmp_path / "data", HERON)
    build_missing_index(folder, folder / "index")
    manifest = folder / "index/prag_index.json"
    # Version 1 named the corpus as the command line did.
    earlier = manifest.read_text().replace('"version": 2', '"version": 1')
    manifest.write_text(earlier.replace('"../documents.jsonl"', '"data/documents.jsonl"'))
    assert found(folder, folder / "index", "Ada") == ["heron"]
    assert "building it again" in capsys.readouterr().err
    assert '"version": 2' in manifest.read_text()


def test_what_is_no_index_is_never_replaced(tmp_path: Path) -> None:
    folder = write(tmp_path / "data", HERON)
    (folder / "index").mkdir()
    (folder / "index/thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match=r"holds 'thesis.tex', which is not of an index"):
        build_missing_index(folder, folder / "index")
    assert (folder / "index/thesis.tex").exists()


def test_an_index_out_of_date_that_cannot_be_replaced_is_left_to_its_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "data", HERON)
    build_missing_index(folder, folder / "index")
    # As a user has it who may only read the folder; these tests may run as root, who may all.
    monkeypatch.setattr(os, "access", lambda path, mode: path != folder)
    assert find_index(folder, tmp_path / "run") == folder / "index"
    write(folder, EDITED)
    assert find_index(folder, tmp_path / "run") == tmp_path / "run/index"


OPEN = """
import sys
from pathlib import Path
from prag_lightning.documents.records import Question
from prag_lightning.retrieval.default_index import open_index
retriever = open_index(Path(sys.argv[1]), Path(sys.argv[2]))
print([one.document_id for one in retriever.retrieve([Question(id="q", question="owl")], 3)[0]])
"""


@pytest.mark.parametrize("is_stale", [False, True])
def test_processes_that_need_the_same_index_build_it_once(tmp_path: Path, is_stale: bool) -> None:
    folder, index_dir = tmp_path / "data", tmp_path / "index"
    write(folder, [*EDITED, *(Document(id=str(n), text=f"word{n}") for n in range(3000))])
    if is_stale:
        build_index(HERON, index_dir, write(folder, HERON, "documents.jsonl") / "documents.jsonl")
        write(folder, EDITED)
    words = [sys.executable, "-c", OPEN, str(folder), str(index_dir)]
    processes = [
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    said = [process.communicate() for process in processes]
    assert [out for out, _ in said] == ["['owl']\n"] * 4
    assert sum("building it again" in err for _, err in said) == (1 if is_stale else 0)
