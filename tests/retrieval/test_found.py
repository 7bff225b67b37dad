"""A folder of what is found for questions: the command prag data retrieve."""

from pathlib import Path

import pytest
from jsonargparse import auto_cli

from prag_lightning.cli.data import DATA_COMMANDS
from prag_lightning.documents.records import Document, Question, read_records, write_records
from prag_lightning.retrieval.bm25 import BM25Retriever, build_index
from prag_lightning.retrieval.run_file import RunFileRetriever

DOCUMENTS = [
    Document(id="a", title="Ada Pell", text="Ada Pell was born in Lund."),
    Document(id="b", title="Bo Lund", text="Bo Lund was a driver."),
    Document(id="c", title="Pell", text="The Pell is a river."),
    Document(id="d", title="Oslo", text="A town of Norway."),
]
QUESTIONS = [
    Question(id="1", question="Where was Ada Pell born?", answers=["Lund"], type="place"),
    Question(id="2", question="What was Bo Lund?", answers=["driver"], document_ids=["b"]),
]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A corpus, its index beside it, and questions."""
    write_records(tmp_path / "corpus.jsonl", DOCUMENTS)
    build_index(DOCUMENTS, tmp_path / "index", tmp_path / "corpus.jsonl")
    write_records(tmp_path / "questions.jsonl", QUESTIONS)
    return tmp_path


def retrieve(corpus: Path, *options: str) -> None:
    names = ("questions.jsonl", "corpus.jsonl", "index", "found")
    words = ["retrieve", *(str(corpus / name) for name in names), *options]
    auto_cli(DATA_COMMANDS, args=words, prog="prag data")


def test_the_folder_holds_the_questions_what_was_found_and_the_ranking(
    corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    retrieve(corpus, "--top_k", "2")
    assert capsys.readouterr().out == f"{corpus / 'found'}: 2 questions, 3 documents\n"
    # Oslo is in no question.
    assert list(read_records(corpus / "found/documents.jsonl", Document)) == DOCUMENTS[:3]
    assert list(read_records(corpus / "found/questions.jsonl", Question)) == QUESTIONS
    again = RunFileRetriever(corpus / "found/retrieved.trec").retrieve(QUESTIONS, 2)
    expected = BM25Retriever(corpus / "index").retrieve(QUESTIONS, 2)
    assert [[one.document_id for one in row] for row in again] == [["a", "c"], ["b", "a"]]
    for row, ranking in zip(again, expected, strict=True):
        assert [one.document_id for one in row] == [one.document_id for one in ranking]
        assert [one.score for one in row] == pytest.approx([one.score for one in ranking])


def test_ids_with_spaces_and_rankings_that_end_early_come_back(tmp_path: Path) -> None:
    documents = [
        Document(id="Ada Byron.txt", text="Ada was born in Lund."),
        Document(id="100% Bo.txt", text="Bo was born in Oslo."),
    ]
    write_records(tmp_path / "corpus.jsonl", documents)
    build_index(documents, tmp_path / "index", tmp_path / "corpus.jsonl")
    questions = [Question(id="q 1", question="Ada?"), Question(id="q 2", question="Who was born?")]
    write_records(tmp_path / "questions.jsonl", questions)
    retrieve(tmp_path, "--top_k", "5")
    found = RunFileRetriever(tmp_path / "found/retrieved.trec").retrieve(questions, 5)
    assert [[one.document_id for one in row] for row in found] == [
        ["Ada Byron.txt"],
        ["100% Bo.txt", "Ada Byron.txt"],
    ]


def test_a_question_that_finds_nothing_is_named_and_nothing_is_written(corpus: Path) -> None:
    write_records(corpus / "questions.jsonl", [Question(id="3", question="Why xylophones?")])
    with pytest.raises(ValueError, match=r"nothing is found for question '3' \('Why xylophones"):
        retrieve(corpus)
    assert not (corpus / "found").exists()


def test_an_index_of_another_corpus_is_refused(corpus: Path) -> None:
    write_records(corpus / "corpus.jsonl", DOCUMENTS[1:])
    with pytest.raises(ValueError, match=r"corpus.jsonl"):
        retrieve(corpus)
