"""Questions that are read when they are asked."""

import tracemalloc
from pathlib import Path

import pytest

from prag_lightning.answering.question_set import QuestionSet
from prag_lightning.documents.records import Question, write_records
from prag_lightning.documents.stored import StoredQuestions

QUESTIONS = [
    Question(id=f"q{number}", question="why " * (number * 7 % 10 + 1) + "?", answers=["x"])
    for number in range(10)
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_records(tmp_path / "questions.jsonl", QUESTIONS)
    return tmp_path / "questions.jsonl"


def test_a_sequence_of_questions_is_that_of_the_file(file: Path) -> None:
    found = StoredQuestions.open(file)
    assert list(found) == QUESTIONS
    assert list(found[1::3]) == QUESTIONS[1::3]
    assert found[1::3][-1] == QUESTIONS[7]
    assert list(reversed(found[:2])) == [QUESTIONS[1], QUESTIONS[0]]
    with pytest.raises(IndexError):
        found[10]


def test_questions_of_a_file_are_asked_as_those_in_memory_are(file: Path, tmp_path: Path) -> None:
    def read(source: Path | list[Question], limit: int | None) -> QuestionSet:
        return QuestionSet.read(
            source,
            methods=["closed_book"],
            needs_answers=True,
            limit=limit,
            place=(1, 2),
            open_retriever=lambda: pytest.fail("nothing is retrieved"),
            top_k=3,
            documents={},
            encoded=[],
        )

    for limit in (None, 4):
        stored, held = read(file, limit), read(QUESTIONS, limit)
        assert list(stored.questions) == list(held.questions) != []
        assert stored.not_counted == held.not_counted == frozenset()


def test_many_questions_take_little_memory(tmp_path: Path) -> None:
    questions = [
        Question(id=f"q{number}", question=f"{number} " * 200, answers=["x" * 200])
        for number in range(300)
    ]
    write_records(tmp_path / "q.jsonl", questions)
    tracemalloc.start()
    found = StoredQuestions.open(tmp_path / "q.jsonl")
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found) == 300
    assert held < (tmp_path / "q.jsonl").stat().st_size / 3
