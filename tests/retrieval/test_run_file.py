"""Rankings read from TREC run files."""

from pathlib import Path

import pytest

from prag_lightning.documents.rankings import RetrievedDocument, write_run
from prag_lightning.documents.records import Question
from prag_lightning.retrieval.run_file import RunFileRetriever

RUN = """q1 Q0 d1 1 7.5 anserini
q1 Q0 d2 2 9.25 anserini

q2\tQ0\td3\t2\t1\tanserini
q2\tQ0\td4\t1\t1\tanserini
"""


def asked(*ids: str) -> list[Question]:
    return [Question(id=one, question="who?") for one in ids]


def test_the_score_decides_and_the_rank_only_between_equals(tmp_path: Path) -> None:
    (tmp_path / "run.trec").write_text(RUN)
    retriever = RunFileRetriever(tmp_path / "run.trec")
    assert retriever.retrieve(asked("q2", "q1"), top_k=2) == [
        [("d4", 1.0), ("d3", 1.0)],
        [("d2", 9.25), ("d1", 7.5)],
    ]
    assert retriever.retrieve(asked("q1"), top_k=1) == [[("d2", 9.25)]]


def test_a_run_comes_back_as_it_was_written(tmp_path: Path) -> None:
    ranking = [RetrievedDocument("d#0", 0.125), RetrievedDocument("é", -2.0)]
    write_run(tmp_path / "run.trec", [("q1", ranking), ("q2", [])], tag="ours")
    retriever = RunFileRetriever(tmp_path / "run.trec")
    assert retriever.retrieve(asked("q1"), top_k=5) == [ranking]


def test_an_id_with_a_space_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="id 'a b' holds a space"):
        write_run(tmp_path / "run.trec", [("q1", [RetrievedDocument("a b", 1.0)])], tag="ours")


def test_a_question_that_the_run_lacks_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.trec").write_text(RUN)
    with pytest.raises(ValueError, match=r"run.trec: question 'q9' is not in the run"):
        RunFileRetriever(tmp_path / "run.trec").retrieve(asked("q9"), top_k=1)


def test_a_missing_run_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"run.trec: no such run file"):
        RunFileRetriever(tmp_path / "run.trec")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("q1 d1 1 7.5", r"run.trec:2: 4 fields instead of 6"),
        ("q1 Q0 d9 one 7.5 x", r"run.trec:2: rank 'one' and score '7.5' must be numbers"),
        ("q1 Q0 d9 1 nan x", r"run.trec:2: score 'nan' is not finite"),
        ("q1 Q0 d1 2 7 x", r"run.trec:2: document 'd1' stands twice .* question 'q1'"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, problem: str) -> None:
    (tmp_path / "run.trec").write_text(f"q1 Q0 d1 1 7.5 x\n{line}\n")
    with pytest.raises(ValueError, match=problem):
        RunFileRetriever(tmp_path / "run.trec")
