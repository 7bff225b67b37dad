"""The example of docs/extending/retriever.md, as it stands there."""

import re
import sys
from pathlib import Path

import pytest
import yaml

from prag_lightning.documents.records import Document, Question, write_records
from prag_lightning.retrieval.base import retrieve_by_question
from prag_lightning.retrieval.by_name import make_retriever

PAGE = Path(__file__).parents[2] / "docs/extending/retriever.md"


def block(language: str) -> str:
    """Return the page's block of code in a language."""
    found = re.search(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    return found[1]


def test_the_example_has_at_most_15_lines_and_finds_documents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = block("python")
    assert len([line for line in code.splitlines() if line.strip()][1:]) <= 15
    (tmp_path / "my_retriever.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    # As the command line does.
    monkeypatch.syspath_prepend(tmp_path)
    documents = [Document(id="a", text="one two"), Document(id="b", text="two three")]
    write_records("data/documents.jsonl", documents)
    spec = yaml.safe_load(block("yaml"))["data"]["retriever"]
    retriever = make_retriever(spec, Path("data"), Path("data/index"))
    asked = [Question(id="q", question="three two")]
    assert retrieve_by_question(retriever, asked, top_k=1) == {"q": [("b", 2.0)]}
    # The object itself is taken as it is.
    assert make_retriever(retriever, Path("data"), Path("data/index")) is retriever
    del sys.modules["my_retriever"]
