"""The command prag index."""

import subprocess
import sys
from pathlib import Path

import pytest
from jsonargparse import auto_cli

from prag_lightning.cli.index import INDEX_COMMANDS
from prag_lightning.documents.records import Question
from prag_lightning.retrieval.bm25 import BM25Retriever
from tests.retrieval.search_server_double import search_server_double


def prag_index(*arguments: object) -> None:
    auto_cli(INDEX_COMMANDS, args=[str(one) for one in arguments], prog="prag index")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    file = tmp_path / "corpus.jsonl"
    file.write_text('{"_id": "a", "title": "Rome", "text": "capital"}\n{"id": "b", "text": "no"}\n')
    return file


def test_a_corpus_becomes_a_folder_that_can_be_searched(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prag_index("bm25", corpus, "--index_dir", tmp_path / "index")
    assert capsys.readouterr().out == f"2 documents indexed in {tmp_path / 'index'}\n"
    retriever = BM25Retriever(tmp_path / "index", corpus)
    assert retriever.retrieve([Question(id="1", question="Rome?")], 1)[0][0].document_id == "a"


def test_a_folder_s_corpus_is_indexed_beside_it(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "documents.jsonl").write_text('{"id": "c", "text": "Rome"}\n')
    prag_index("bm25", tmp_path)
    rome = [Question(id="1", question="Rome?")]
    assert BM25Retriever(tmp_path / "index", corpus).retrieve(rome, 1)[0][0].document_id == "a"
    corpus.unlink()
    prag_index("bm25", tmp_path)
    assert BM25Retriever(tmp_path / "index").retrieve(rome, 1)[0][0].document_id == "c"


def test_a_corpus_becomes_an_index_of_a_server(
    corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with search_server_double() as double:
        prag_index("elasticsearch", corpus, "wiki", "--url", double.url)
        assert list(double.indexes["wiki"]) == ["a", "b"]
    assert capsys.readouterr().out == f"2 documents indexed in 'wiki' at {double.url}\n"


def test_a_broken_corpus_is_named(tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_text('{"id": "a", "text": "x"}\n{"id": "b"}\n')
    with pytest.raises(ValueError, match=r"corpus.jsonl:2: field 'text': Field required"):
        prag_index("bm25", tmp_path / "corpus.jsonl")
    with pytest.raises(FileNotFoundError, match=r"none.jsonl: no such corpus file"):
        prag_index("bm25", tmp_path / "none.jsonl")


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys, prag_lightning.cli.index\n"
        "heavy = {'torch', 'transformers', 'tantivy', 'httpx', 'numpy', 'pydantic', 'rich'}\n"
        "print(heavy & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "set()\n"
