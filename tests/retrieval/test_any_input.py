"""Whatever is in the files, what goes wrong is said in one line."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

from prag_lightning.documents.rankings import RetrievedDocument, write_run
from prag_lightning.documents.records import Document, Question, read_records
from prag_lightning.retrieval.base import retrieve_by_question
from prag_lightning.retrieval.bm25 import BM25Retriever, build_index
from prag_lightning.retrieval.default_index import open_index
from prag_lightning.retrieval.run_file import RunFileRetriever

T = TypeVar("T")

ASKED = [Question(id="q1", question="Où est Ada ? 東京"), Question(id="q 2", question="who?")]

words = st.sampled_from(["q1", "Q0", "Q0%", "d1", "q%202", "1", "7.5", "nan", "x@3", "é", "%", ""])
lines = st.lists(words, min_size=4, max_size=8).map(" ".join)
run_files = st.one_of(
    st.binary(max_size=60),
    st.lists(lines | st.text(max_size=20), max_size=5).map(lambda all: "\n".join(all).encode()),
    st.lists(lines, max_size=4).map(lambda all: "\r\n".join(all).encode("utf-16")),
)


def outcome(do: Callable[[], T]) -> T | None:
    """Return what a function returns, or None if it refuses in one line; all else is raised."""
    try:
        return do()
    except (ValueError, OSError) as error:
        if not str(error) or "\n" in str(error):
            raise AssertionError(f"no single line: {error!r}") from error
        return None


@settings(max_examples=200, deadline=None)
@given(run_files, st.integers(-1, 5))
def test_a_run_file_is_read_or_refused(content: bytes, top_k: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run_file = Path(folder, "run.trec")
        run_file.write_bytes(content)
        found = outcome(lambda: retrieve_by_question(RunFileRetriever(run_file), ASKED, top_k))
        assert found is None or all(len(ranking) <= top_k for ranking in found.values())


identifiers = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
rankings = st.dictionaries(
    identifiers,
    st.dictionaries(identifiers, st.integers(-9, 9), min_size=1, max_size=4),
    max_size=4,
)


@settings(max_examples=60, deadline=None)
@given(rankings)
def test_any_ranking_comes_back_from_its_file(rankings: dict[str, dict[str, int]]) -> None:
    by_question = {
        question_id: [
            RetrievedDocument(one, score)
            for one, score in sorted(found.items(), key=lambda row: -row[1])
        ]
        for question_id, found in rankings.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        write_run(Path(folder, "run.trec"), by_question.items(), tag="any", top_k=4)
        retriever = RunFileRetriever(Path(folder, "run.trec"))
    asked = [Question(id=question_id, question="?") for question_id in rankings]
    assert retriever.retrieve(asked, 4) == list(by_question.values()) if asked else True


fields: st.SearchStrategy[Any] = st.one_of(st.text(max_size=20), st.none(), st.integers(0, 3))
corpora = st.lists(
    st.one_of(
        st.builds(lambda **all: json.dumps(all).encode(), id=fields, title=fields, text=fields),
        st.builds(
            lambda **all: json.dumps(all).encode(),
            id=st.sampled_from("abc"),
            text=st.sampled_from(["Ada", "Ada 東京", "who is he"]),
        ),
        st.binary(max_size=10),
    ),
    max_size=5,
).map(b"\n".join)


@settings(max_examples=40, deadline=None)
@given(corpora)
def test_a_corpus_is_indexed_or_refused(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder, "documents.jsonl")
        corpus.write_bytes(content)
        retriever = outcome(lambda: open_index(Path(folder), Path(folder, "index")))
        if retriever is None:
            assert not Path(folder, "index").exists()
            return
        ids = {document.id for document in read_records(corpus, Document)}
        for ranking in retriever.retrieve(ASKED, 3):
            assert {one.document_id for one in ranking} <= ids


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_a_damaged_index_is_refused_and_never_searched(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        index_dir = Path(folder, "index")
        build_index([Document(id="a", text="Ada"), Document(id="b", text="who")], index_dir)
        found = BM25Retriever(index_dir).retrieve(ASKED, 3)
        names = sorted(path.name for path in index_dir.iterdir())
        file = index_dir / data.draw(st.sampled_from(names))
        content = file.read_bytes()
        start = data.draw(st.integers(0, len(content)))
        end = data.draw(st.integers(start, len(content)))
        # Not in its place, where the first retriever has it mapped into memory.
        file.unlink()
        file.write_bytes(content[:start] + data.draw(st.binary(max_size=3)) + content[end:])
        again = outcome(lambda: BM25Retriever(index_dir).retrieve(ASKED, 3))
        assert again in (None, found)
