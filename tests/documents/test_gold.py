"""Gold documents that are empty, or not in the data set."""

import json
from pathlib import Path

import pytest

from prag_lightning.documents.convert import write_entries
from prag_lightning.documents.entries import Entry, document_of
from prag_lightning.documents.records import Document, Question, read_records
from prag_lightning.retrieval.run_file import RunFileRetriever
from tests.documents.sources import prag_data

BEIR_CORPUS = '{"_id": "1", "title": "Only a title", "text": ""}\n{"_id": "2", "text": "b"}\n'


def write_beir(folder: Path, relevance: str) -> Path:
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text(BEIR_CORPUS)
    (folder / "queries.jsonl").write_text('{"_id": "q", "text": "which?"}\n')
    (folder / "qrels/test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{relevance}")
    return folder


@pytest.mark.parametrize(
    ("relevance", "gold", "num_left_out"),
    [
        ("q\t2\t1\n", ["2"], 0),
        ("q\t1\t1\n", [], 1),
        ("q\t1\t1\nq\t2\t1\n", ["2"], 1),
        ("q\t2\t1\nq\t9\t1\nq\t1\t1\n", ["2"], 2),
    ],
)
def test_gold_documents_that_are_empty_or_not_there_are_left_out_and_counted(
    tmp_path: Path,
    relevance: str,
    gold: list[str],
    num_left_out: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    prag_data("convert", "beir", write_beir(tmp_path / "beir", relevance), tmp_path / "out")
    [question] = read_records(tmp_path / "out/questions.jsonl", Question)
    assert question.document_ids == gold
    out = capsys.readouterr().out
    assert (f", {num_left_out} gold documents left out, empty or not there" in out) == (
        num_left_out > 0
    )
    assert "1 empty documents left out" in out


def test_an_empty_gold_paragraph_leaves_the_others_gold(tmp_path: Path) -> None:
    record = {
        **{"_id": "h", "question": "?", "answer": "x"},
        "context": [["A", [""]], ["B", ["b"]], ["C", ["c"]]],
        "supporting_facts": [["A", 0], ["B", 0]],
    }
    (tmp_path / "a.json").write_text(json.dumps([record]))
    prag_data("convert", "hotpotqa", tmp_path / "a.json", tmp_path / "out")
    [question] = read_records(tmp_path / "out/questions.jsonl", Question)
    assert question.document_ids == [document_of("B", "b").id]


def test_gold_documents_are_known_wherever_they_stand(tmp_path: Path) -> None:
    before, after = Document(id="before", text="b"), Document(id="after", text="a")
    with_other = Document(id="other", text="o")
    gold = ["before", "after", "other", "nowhere"]
    entries = [
        Entry(documents=(before,)),
        Entry(Question(id="p", question="?"), documents=(with_other,)),
        Entry(Question(id="q", question="?", document_ids=gold), retrieved=("nowhere", "after")),
        Entry(documents=(after,)),
    ]
    conversion = write_entries(entries, tmp_path)
    _, question = read_records(tmp_path / "questions.jsonl", Question)
    assert question.document_ids == ["before", "after", "other"]
    assert conversion.counts["gold documents left out, empty or not there"] == 1
    ranking = RunFileRetriever(tmp_path / "retrieved.trec").retrieve([question], 1)
    assert ranking == [[("after", 1.0)]]


def test_gold_documents_of_questions_without_a_corpus_are_elsewhere_and_stay(
    tmp_path: Path,
) -> None:
    question = Question(id="q", question="?", document_ids=["elsewhere"])
    write_entries([Entry(question)], tmp_path)
    assert list(read_records(tmp_path / "questions.jsonl", Question)) == [question]
