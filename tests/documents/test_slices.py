"""Slices of a data set."""

from collections import Counter
from collections.abc import Iterator

import pytest

from prag_lightning.documents.entries import Entry
from prag_lightning.documents.records import Document, Question
from prag_lightning.documents.slices import take_slice


def questions(types: list[str | None]) -> list[Entry]:
    return [Entry(Question(id=str(n), question="?", type=kind)) for n, kind in enumerate(types)]


def ids(entries: Iterator[Entry]) -> list[str]:
    return [entry.question.id for entry in entries if entry.question]


@pytest.mark.parametrize("seed", [None, 1])
def test_a_limit_holds_for_each_type_and_leaves_the_corpus(seed: int | None) -> None:
    corpus = Entry(documents=(Document(id="d", text="t"),))
    entries = [corpus, *questions(["x", "x", "y", "x", "y", "z"]), corpus]
    taken = list(take_slice(entries, 2, seed))
    assert [entry for entry in taken if entry.documents] == [corpus, corpus]
    types = Counter(entry.question.type for entry in taken if entry.question)
    assert types == {"x": 2, "y": 2, "z": 1}


def test_without_a_seed_the_first_are_taken() -> None:
    assert ids(take_slice(questions(["x", "x", "y", "x", "y", "z"]), 2)) == [
        "0",
        "1",
        "2",
        "4",
        "5",
    ]


def test_a_seed_draws_the_same_questions_again_in_the_order_of_the_data_set() -> None:
    entries = questions([None] * 100)
    drawn = ids(take_slice(entries, 10, seed=3))
    assert drawn == ids(take_slice(entries, 10, seed=3))
    assert drawn == sorted(drawn, key=int)
    assert len(set(drawn)) == 10
    assert drawn != ids(take_slice(entries, 10, seed=4))
    assert drawn != ids(take_slice(entries, 10))


def test_every_question_is_drawn_about_as_often() -> None:
    entries = questions([None] * 20)
    times = Counter(one for seed in range(2000) for one in ids(take_slice(entries, 5, seed)))
    # Each of 20 is drawn in a quarter of 2000 draws; the standard deviation is 19.
    assert len(times) == 20
    assert all(abs(count - 500) < 5 * 19.4 for count in times.values())


def test_of_documents_no_more_are_read_than_are_taken() -> None:
    def corpus() -> Iterator[Entry]:
        for number in range(3):
            yield Entry(documents=(Document(id=str(number), text="t"),))
        raise AssertionError("the rest of 21 million")

    assert len(list(take_slice(corpus(), 2, of_documents=True))) == 2


def test_a_seed_draws_documents_of_a_corpus() -> None:
    entries = [Entry(documents=(Document(id=str(n), text="t"),)) for n in range(50)]
    taken = list(take_slice(entries, 5, seed=0, of_documents=True))
    assert len(taken) == 5
    assert taken != entries[:5]
