"""The journal of added documents: what was accepted is there, and no line is half there."""

from pathlib import Path

import pytest

from prag_lightning.documents.records import Document
from prag_lightning.serving.additions import JOURNAL, Additions


def document(name: str, text: str = "Ada was born in Paris.") -> Document:
    return Document(id=name, title=name.upper(), text=text)


def test_what_was_accepted_waits_after_a_kill_at_any_byte(tmp_path: Path) -> None:
    additions = Additions(tmp_path / "all")
    additions.accept(document("a"))
    size = (tmp_path / "all" / JOURNAL).stat().st_size
    additions.accept(document("b"))
    additions.take(1)
    whole = (tmp_path / "all" / JOURNAL).read_bytes()
    for length in (*range(size, len(whole), 17), len(whole) - 1, len(whole)):
        folder = tmp_path / str(length)
        folder.mkdir()
        (folder / JOURNAL).write_bytes(whole[:length])
        again = Additions(folder)
        expected = ["a", "b"] if length == len(whole) else ["a"]
        assert [one.id for one in again.take(9)] == expected
        # The rest of a line that was cut is gone.
        again.accept(document("c"))
        assert [one.id for one in Additions(folder).take(9)] == [*expected, "c"]


def test_the_journal_keeps_what_is_done_without_its_text(tmp_path: Path) -> None:
    additions = Additions(tmp_path)
    for name in "abc":
        additions.accept(document(name, f"{name} is a long text"))
    additions.finish("a")
    additions.finish("b", "it has no questions")
    again = Additions(tmp_path)
    assert [one.id for one in again.take(9)] == ["c"]
    text = (tmp_path / JOURNAL).read_text()
    assert "c is a long text" in text
    assert "a is a long text" not in text
    failed = again.find("b")
    assert failed is not None
    assert (failed.state, failed.problem) == ("failed", "it has no questions")
    assert again.counts() == {"stored": 1, "failed": 1, "encoding": 1}


def test_a_document_that_failed_may_be_tried_again(tmp_path: Path) -> None:
    additions = Additions(tmp_path)
    additions.accept(document("a"))
    additions.finish("a", "no questions")
    assert additions.accept(document("a")).state == "waiting"
    assert [one.id for one in additions.take(9)] == ["a"]
    assert [one.id for one in Additions(tmp_path).take(9)] == ["a"]


def test_the_same_document_is_accepted_once_and_another_under_its_id_is_not(tmp_path: Path) -> None:
    additions = Additions(tmp_path)
    additions.accept(document("a"))
    assert additions.accept(document("a")).state == "waiting"
    with pytest.raises(ValueError, match="another document with the id 'a' is being encoded"):
        additions.accept(document("a", "Ada was born in Rome."))
    assert additions.num_open == 1


def test_what_could_not_be_encoded_now_waits_again_but_not_what_is_done(tmp_path: Path) -> None:
    additions = Additions(tmp_path)
    for name in "ab":
        additions.accept(document(name))
    taken = additions.take(9)
    assert additions.counts() == {"encoding": 2}
    additions.finish("a")
    additions.put_back(taken)
    assert additions.counts() == {"stored": 1, "waiting": 1}
