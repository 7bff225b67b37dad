"""The command prag index."""

import subprocess
import sys
from pathlib import Path

import pytest
from jsonargparse import auto_cli

from prag_lightning.cli.exit_status import TRY_AGAIN, USAGE
from prag_lightning.cli.index import INDEX_COMMANDS
from prag_lightning.cli.main import main
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


def test_what_goes_wrong_is_one_line_and_a_status(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(status: int, *words: object) -> str:
        assert main(["index", *map(str, words)]) == status
        [line] = capsys.readouterr().err.splitlines()
        return line

    (tmp_path / "empty.jsonl").write_text("")
    assert fail(USAGE, "bm25", tmp_path / "empty.jsonl") == "prag: there are no documents to index"
    assert "which is not of an index and would be lost" in fail(
        USAGE, "bm25", corpus, "--index_dir", tmp_path
    )
    server = ("elasticsearch", corpus, "wiki", "--url")
    assert "s3cret" not in fail(USAGE, *server, "http://me:s3cret@host")
    assert "no search server answers" in fail(TRY_AGAIN, *server, "http://127.0.0.1:1")
    assert "is no address" in fail(USAGE, *server, "localhost")


def test_an_index_that_another_process_builds_is_to_be_tried_again(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from prag_lightning.retrieval.index_building import building_lock\n"
        "with building_lock(Path(sys.argv[1]), wait=False):\n"
        "    print('held', flush=True); sys.stdin.read()\n"
    )
    words = [sys.executable, "-c", program, str(tmp_path / "index")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert main(["index", "bm25", str(corpus)]) == TRY_AGAIN
        assert capsys.readouterr().err == (
            f"prag: {tmp_path / 'index'}: another process is building this index; start the same "
            "command again when it is done\n"
        )
        other.communicate()
    assert main(["index", "bm25", str(corpus)]) == 0


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys, prag_lightning.cli.index\n"
        "heavy = {'torch', 'transformers', 'tantivy', 'httpx', 'numpy', 'pydantic', 'rich'}\n"
        "print(heavy & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "set()\n"
