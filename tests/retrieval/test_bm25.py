"""The embedded BM25 index: scores, analysis, and an index that is whole or not there."""

import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prag_lightning.documents.records import Document, Question, read_records
from prag_lightning.retrieval.analysis import make_analyzer, prepare
from prag_lightning.retrieval.bm25 import BM25Retriever, build_index

DOCUMENTS = [
    Document(id="paris", title="Paris", text="Paris is the capital of France."),
    Document(id="rome", title="Rome", text="Rome is the capital of Italy, not of France."),
    Document(id="seine", title="The Seine", text="A river that flows through Paris, Paris, Paris."),
    Document(id="../etc/passwd", title="", text="Capitals have long lists of users."),
    Document(id="東京", title="東京", text="東京は日本の首都です。"),
]


def question(text: str) -> Question:
    return Question(id="q", question=text)


@pytest.fixture(scope="module")
def retriever(tmp_path_factory: pytest.TempPathFactory) -> BM25Retriever:
    index_dir = tmp_path_factory.mktemp("bm25") / "index"
    assert build_index(DOCUMENTS, index_dir) == len(DOCUMENTS)
    return BM25Retriever(index_dir)


def visible(folder: Path) -> list[str]:
    """Return the names in a folder but for that of the lock, which may stay."""
    return [path.name for path in folder.iterdir() if path.name != ".index.lock"]


def expected_scores(text: str) -> dict[str, float]:
    """BM25 (k1 1.2, b 0.75) of each field by its formula; the better field and half the other."""
    analyze = make_analyzer().analyze
    fields = {
        name: {one.id: analyze(prepare(getattr(one, name))) for one in DOCUMENTS}
        for name in ("title", "text")
    }

    def bm25(words: list[str], others: dict[str, list[str]]) -> float:
        average = sum(map(len, others.values())) / len(others)
        total = 0.0
        for term in analyze(prepare(text)):
            frequency = words.count(term)
            containing = sum(term in other for other in others.values())
            idf = math.log(1 + (len(others) - containing + 0.5) / (containing + 0.5))
            length = 1.2 * (1 - 0.75 + 0.75 * len(words) / average)
            total += idf * frequency * 2.2 / (frequency + length)
        return total

    scores = {}
    for document in DOCUMENTS:
        both = sorted(bm25(others[document.id], others) for others in fields.values())
        scores[document.id] = both[1] + 0.5 * both[0]
    return {document_id: score for document_id, score in scores.items() if score > 0}


@pytest.mark.parametrize(
    "text", ["What is the capital of France?", "Paris", "paris paris rome", "Seine's river", "首都"]
)
def test_scores_are_those_of_the_formula(retriever: BM25Retriever, text: str) -> None:
    found = retriever.retrieve([question(text)], top_k=10)[0]
    assert found
    assert dict(found) == pytest.approx(expected_scores(text), rel=1e-5)
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)


def test_a_title_that_matches_beats_a_text_that_repeats(retriever: BM25Retriever) -> None:
    found = retriever.retrieve([question("Paris")], top_k=1)[0]
    assert [one.document_id for one in found] == ["paris"]


def test_every_question_has_its_own_row(retriever: BM25Retriever) -> None:
    rows = retriever.retrieve([question("Rome"), question("qwertz"), question("Seine")], top_k=2)
    assert [[one.document_id for one in row] for row in rows] == [["rome"], [], ["seine"]]
    assert retriever.retrieve([], top_k=2) == []


@pytest.mark.parametrize(
    "text", ['who wrote "Hey Jude', "a: b", "title:rome", "AND OR NOT", "(x", "?", "\x00 ^~*"]
)
def test_a_question_is_no_query_language(retriever: BM25Retriever, text: str) -> None:
    found = retriever.retrieve([question(text)], top_k=3)[0]
    assert {one.document_id for one in found} <= ({"rome"} if "rome" in text else {"paris"})


@settings(max_examples=50, deadline=None)
@given(st.text(min_size=1, max_size=200))
def test_any_question_can_be_asked(retriever: BM25Retriever, text: str) -> None:
    assert len(retriever.retrieve([question(text)], top_k=3)[0]) <= 3


def test_threads_that_search_at_once_find_what_one_finds(retriever: BM25Retriever) -> None:
    texts = ["capital of France", "Paris", "東京は", "Seine's river", "столица"] * 40
    alone = [retriever.retrieve([question(text)], top_k=3) for text in texts]
    with ThreadPoolExecutor(8) as threads:
        together = threads.map(lambda text: retriever.retrieve([question(text)], top_k=3), texts)
        assert list(together) == alone


def test_less_than_one_document_is_refused(retriever: BM25Retriever) -> None:
    with pytest.raises(ValueError, match="top_k is 0; it must be at least 1"):
        retriever.retrieve([question("Rome")], top_k=0)


def test_a_missing_index_names_the_command_that_builds_it(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"no bm25 index; build it: prag index bm25 CORPUS --index"
    ):
        BM25Retriever(tmp_path / "none")


def test_two_documents_of_one_id_are_refused_and_leave_no_index(tmp_path: Path) -> None:
    other = Document(id="rome", text="The Eternal City.")
    with pytest.raises(ValueError, match="document number 6 has the id 'rome' of another document"):
        build_index([*DOCUMENTS, other], tmp_path / "index")
    assert visible(tmp_path) == []


def test_exact_repetitions_count_once(tmp_path: Path) -> None:
    for name, documents in (("once", DOCUMENTS), ("twice", DOCUMENTS * 2)):
        assert build_index(documents, tmp_path / name) == len(DOCUMENTS)
    asked = [question("capital of France")]
    once, twice = (BM25Retriever(tmp_path / name).retrieve(asked, 9) for name in ("once", "twice"))
    assert once == twice
    assert len(once[0]) == 3


def test_an_index_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there are no documents to index"):
        build_index([], tmp_path / "index")
    assert visible(tmp_path) == []


def test_more_documents_than_there_are_can_be_asked_for(retriever: BM25Retriever) -> None:
    assert len(retriever.retrieve([question("capital")], top_k=10**12)[0]) == 3


def test_a_damaged_index_names_the_command_that_builds_it(tmp_path: Path) -> None:
    build_index(DOCUMENTS, tmp_path / "index")
    (tmp_path / "index/meta.json").write_text("{")
    with pytest.raises(
        ValueError, match=r"index is damaged: meta.json is not .*; build it: prag index bm25"
    ):
        BM25Retriever(tmp_path / "index")


def test_a_folder_with_something_else_in_it_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match=r"holds 'thesis.tex', which is not of an index and would"):
        build_index(DOCUMENTS, tmp_path)
    with pytest.raises(ValueError, match=r"holds 'thesis.tex', which is not"):
        build_index(DOCUMENTS, tmp_path / "thesis.tex")
    build_index(DOCUMENTS, tmp_path / "index")
    (tmp_path / "thesis.tex").rename(tmp_path / "index/thesis.tex")
    with pytest.raises(ValueError, match=r"index holds 'thesis.tex', which is not"):
        build_index(DOCUMENTS, tmp_path / "index")
    assert (tmp_path / "index/thesis.tex").read_text() == "years of work"
    assert BM25Retriever(tmp_path / "index").retrieve([question("Rome")], 1)[0]


def test_an_index_takes_the_place_of_the_former(tmp_path: Path) -> None:
    build_index(DOCUMENTS, tmp_path / "index")
    build_index(DOCUMENTS[:1], tmp_path / "index")
    found = BM25Retriever(tmp_path / "index").retrieve([question("capital")], top_k=5)
    assert [one.document_id for one in found[0]] == ["paris"]
    assert visible(tmp_path) == ["index"]


def test_a_failed_build_leaves_the_former_index(tmp_path: Path) -> None:
    def broken() -> Iterator[Document]:
        yield DOCUMENTS[0]
        raise ValueError("line 2 is torn")

    build_index(DOCUMENTS, tmp_path / "index")
    with pytest.raises(ValueError, match="line 2 is torn"):
        build_index(broken(), tmp_path / "index")
    assert BM25Retriever(tmp_path / "index").manifest.num_documents == len(DOCUMENTS)


def test_others_may_read_what_an_index_is_made_of(tmp_path: Path) -> None:
    build_index(DOCUMENTS, tmp_path / "index")
    (tmp_path / "own").write_text("")
    mode = (tmp_path / "own").stat().st_mode
    assert {file.stat().st_mode for file in (tmp_path / "index").iterdir()} == {mode}


def test_an_index_of_a_changed_corpus_is_stale(tmp_path: Path) -> None:
    corpus, index_dir = tmp_path / "corpus.jsonl", tmp_path / "index"
    corpus.write_text('{"id": "a", "text": "one"}\n')
    build_index(read_records(corpus, Document), index_dir, corpus)
    shutil.copy(corpus, tmp_path / "copy.jsonl")
    assert BM25Retriever(index_dir, tmp_path / "copy.jsonl").manifest.num_documents == 1
    corpus.write_text('{"id": "a", "text": "two"}\n')
    os.utime(corpus, ns=(0, 0))
    with pytest.raises(ValueError, match=r"was not built from .*corpus.jsonl as it is now; build"):
        BM25Retriever(index_dir, corpus)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('"version": 2', '"version": 1', "is a bm25 index of version 1, not a bm25 index"),
        ('"kind": "bm25"', '"kind": "dense"', "is a dense index of version 2, not a bm25 index"),
        ('"kind": "bm25"', '"kind": "', r"prag_index.json cannot be read; build it: prag index"),
    ],
)
def test_an_index_of_another_kind_or_version_is_refused(
    tmp_path: Path, old: str, new: str, problem: str
) -> None:
    build_index(DOCUMENTS, tmp_path / "index")
    manifest = tmp_path / "index" / "prag_index.json"
    text = manifest.read_text()
    assert old in text
    manifest.write_text(text.replace(old, new))
    with pytest.raises(ValueError, match=problem):
        BM25Retriever(tmp_path / "index")


ENDLESS_BUILD = """
import itertools, sys
from prag_lightning.documents.records import Document
from prag_lightning.retrieval.bm25 import build_index
build_index((Document(id=str(n), text="word") for n in itertools.count()), sys.argv[1])
"""


def test_a_killed_build_leaves_no_index_and_can_be_repeated(tmp_path: Path) -> None:
    index_dir = tmp_path / "index"
    build = subprocess.Popen([sys.executable, "-c", ENDLESS_BUILD, str(index_dir)])
    try:
        while not any((tmp_path / ".index.draft").glob("*")):
            assert build.poll() is None
            time.sleep(0.01)
    finally:
        build.send_signal(signal.SIGKILL)
        build.wait()
    with pytest.raises(FileNotFoundError, match="there is no bm25 index"):
        BM25Retriever(index_dir)
    build_index(DOCUMENTS, index_dir)
    assert BM25Retriever(index_dir).manifest.num_documents == len(DOCUMENTS)
    assert visible(tmp_path) == ["index"]


def test_three_documents_hold_the_gold_one_for_85_percent_of_real_questions(
    tmp_path: Path,
) -> None:
    if "PRAG_DATA" not in os.environ:
        pytest.skip("PRAG_DATA is not set: there are no real documents")
    folder = Path(os.environ["PRAG_DATA"]) / "squad_augmented"
    build_index(read_records(folder / "corpus.jsonl", Document), tmp_path / "index")
    questions = list(read_records(folder / "questions.jsonl", Question))
    found = BM25Retriever(tmp_path / "index").retrieve(questions, top_k=3)
    num_found = sum(
        not {one.document_id for one in ranking}.isdisjoint(asked.document_ids)
        for asked, ranking in zip(questions, found, strict=True)
    )
    assert len(questions) == 722
    assert num_found / len(questions) >= 0.85
