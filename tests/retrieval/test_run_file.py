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
    assert retriever.retrieve(asked("q1"), top_k=2) == [ranking]
    # Other tools read it, too.
    assert (tmp_path / "run.trec").read_text(encoding="utf-8") == (
        "q1 Q0 d#0 1 0.125 ours@2\nq1 Q0 é 2 -2 ours@2\n"
    )


ODD_IDS = [
    "Ada Byron.txt",
    "100%",
    "%20",
    "a\u00a0b",
    "\ufeff",
    "\t",
    "a\nb",
    "\x1c",
    "東京 \u3000",
]


def test_ids_of_any_kind_come_back_as_they_were_written(tmp_path: Path) -> None:
    ranking = [RetrievedDocument(one, float(-rank)) for rank, one in enumerate(ODD_IDS)]
    write_run(tmp_path / "run.trec", [(one, ranking) for one in ODD_IDS], tag="ours")
    retriever = RunFileRetriever(tmp_path / "run.trec")
    assert retriever.retrieve(asked(*ODD_IDS), top_k=9) == [ranking] * 9
    first = (tmp_path / "run.trec").read_text(encoding="utf-8").splitlines()[0]
    assert first == "Ada%20Byron.txt Q0% Ada%20Byron.txt 1 0 ours@9"


def test_percent_signs_in_a_run_of_others_are_their_own(tmp_path: Path) -> None:
    (tmp_path / "run.trec").write_text("q%201 Q0 https://host/Caf%C3%A9 1 7.5 anserini\n")
    found = RunFileRetriever(tmp_path / "run.trec").retrieve(asked("q%201"), top_k=1)
    assert found == [[("https://host/Caf%C3%A9", 7.5)]]


def test_a_run_with_too_few_documents_for_top_k_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.trec").write_text(RUN + "q3 Q0 d5 1 1 anserini\n")
    retriever = RunFileRetriever(tmp_path / "run.trec")
    assert [len(row) for row in retriever.retrieve(asked("q1", "q2"), top_k=2)] == [2, 2]
    with pytest.raises(
        ValueError,
        match=r"run.trec: question 'q3' has 1 documents in the run, but top_k is 2 \(1 of 3 "
        r"questions have too few\); make the run with 2 documents a question, or set top_k to 1",
    ):
        retriever.retrieve(asked("q1", "q2", "q3"), top_k=2)
    with pytest.raises(ValueError, match=r"'q2' has 2 .* top_k is 5 \(2 of 2 .* set top_k to 2"):
        retriever.retrieve(asked("q2", "q1"), top_k=5)
    with pytest.raises(ValueError, match="top_k is 0; it must be at least 1"):
        retriever.retrieve(asked("q1"), top_k=0)


def test_a_ranking_may_end_early_where_the_run_says_that_more_were_asked_for(
    tmp_path: Path,
) -> None:
    ranking = [RetrievedDocument("d1", 2.0), RetrievedDocument("d2", 1.0)]
    rankings = [("q1", ranking), ("q2", ranking[:1])]
    write_run(tmp_path / "run.trec", rankings, tag="found", top_k=5)
    retriever = RunFileRetriever(tmp_path / "run.trec")
    assert retriever.retrieve(asked("q1", "q2"), top_k=5) == [ranking, ranking[:1]]
    with pytest.raises(
        ValueError, match="question 'q1' has 2 documents in the run, but top_k is 6"
    ):
        retriever.retrieve(asked("q1", "q2"), top_k=6)
    # As many as the longest ranking has, if nothing is said.
    write_run(tmp_path / "run.trec", rankings, tag="found")
    retriever = RunFileRetriever(tmp_path / "run.trec")
    assert retriever.retrieve(asked("q2"), top_k=2) == [ranking[:1]]
    with pytest.raises(ValueError, match="top_k is 3"):
        retriever.retrieve(asked("q2"), top_k=3)


def test_a_byte_order_mark_is_no_part_of_an_id(tmp_path: Path) -> None:
    (tmp_path / "run.trec").write_bytes(b"\xef\xbb\xbf" + RUN.replace("\n", "\r\n").encode())
    assert RunFileRetriever(tmp_path / "run.trec").retrieve(asked("q1"), 1) == [[("d2", 9.25)]]


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_run_that_is_not_utf_8_is_refused_with_its_line(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "run.trec").write_bytes("q1 Q0 d1 1 7 x\nq1 Q0 é 2 6 x\n".encode(encoding))
    line = 2 if encoding == "latin-1" else 1
    with pytest.raises(ValueError, match=rf"run.trec:{line}: not UTF-8 at byte \d+ of the line"):
        RunFileRetriever(tmp_path / "run.trec")


def test_a_run_that_cannot_be_written_leaves_the_former(tmp_path: Path) -> None:
    write_run(tmp_path / "run.trec", [("q1", [RetrievedDocument("d1", 1.0)])], tag="ours")
    before = (tmp_path / "run.trec").read_bytes()
    with pytest.raises(UnicodeEncodeError):
        write_run(tmp_path / "run.trec", [("q1", [RetrievedDocument("\ud800", 1.0)])], tag="ours")
    assert (tmp_path / "run.trec").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["run.trec"]


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
        (
            "q1 Q0 Ada Byron 1 7.5 x",
            r"run.trec:2: 7 fields [^(]*.write spaces in ids as %20, and Q0%",
        ),
        ("q1 Q0 d9 one 7.5 x", r"run.trec:2: rank 'one' and score '7.5' must be numbers"),
        ("q1 Q0 d9 1 nan x", r"run.trec:2: score 'nan' is not finite"),
        ("q1 Q0 d1 2 7 x", r"run.trec:2: document 'd1' appears twice .* question 'q1'"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, problem: str) -> None:
    (tmp_path / "run.trec").write_text(f"q1 Q0 d1 1 7.5 x\n{line}\n")
    with pytest.raises(ValueError, match=problem):
        RunFileRetriever(tmp_path / "run.trec")
