"""Runs that stop and go on."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from prag_lightning.augmentation.draft import Draft, Outcome, Reply, Usage
from prag_lightning.augmentation.outcome_files import Settings
from prag_lightning.augmentation.runner import run_augmentation
from prag_lightning.augmentation.settings import Order
from prag_lightning.augmentation.template import TemplateGenerator
from prag_lightning.documents.records import Document


class _Failing:
    """Gives no answer of use to documents that are named so."""

    def __init__(self, max_attempts: int = 2) -> None:
        self.max_attempts = max_attempts
        self.settings: Settings = {"generator": "failing"}
        self.asked: list[str] = []

    def augment(self, documents: Sequence[Document], deliver: Callable[[Outcome], None]) -> Usage:
        good = '[{"question": "Who?", "answer": "Ada", "full_answer": "It was Ada."}]'
        for document in documents:
            draft = Draft(document, Order(0, 1, self.max_attempts))
            while requests := draft.requests:
                self.asked.append(document.id)
                answer = "no" if document.id == "d1" else good
                draft.accept(requests[0], Reply(answer, Usage(1, 10, 2)))
            deliver(draft.outcome)
        return Usage(len(self.asked), 10 * len(self.asked), 2 * len(self.asked))


def test_a_run_cut_off_at_any_byte_goes_on_to_the_same_file(tmp_path: Path) -> None:
    documents = [Document(id=f"é{n}", text="Ada ran.") for n in range(2)]
    generator = TemplateGenerator(num_rewrites=0, num_qas=1)
    output = tmp_path / "augmentations.jsonl"
    run_augmentation(documents, generator, output)
    whole = output.read_bytes()
    for end in range(len(whole)):
        output.write_bytes(whole[:end])
        summary = run_augmentation(documents, generator, output)
        assert output.read_bytes() == whole
        assert summary.num_before == whole[:end].count(b"\n")
        assert summary.num_augmented == 2


def test_a_failed_document_is_recorded_and_the_run_goes_on(
    tmp_path: Path, documents: list[Document]
) -> None:
    generator = _Failing()
    summary = run_augmentation(documents, generator, tmp_path / "a.jsonl")
    assert generator.asked == ["d0", "d1", "d1", "d2", "d3", "d4"]
    assert (summary.num_augmented, summary.num_failed, summary.num_missing) == (4, 1, 0)
    lines = str(summary).splitlines()
    assert lines[0] == "5 documents: 4 augmented, 1 failed"
    assert lines[1].startswith("6 requests, 60 tokens read, 12 written, ")


def test_a_failed_document_is_tried_again_only_if_more_attempts_are_allowed(
    tmp_path: Path, documents: list[Document]
) -> None:
    output = tmp_path / "a.jsonl"
    run_augmentation(documents, _Failing(max_attempts=2), output)
    again = _Failing(max_attempts=2)
    assert run_augmentation(documents, again, output).num_failed == 1
    assert again.asked == []
    more = _Failing(max_attempts=3)
    summary = run_augmentation(documents, more, output)
    assert more.asked == ["d1"] * 3
    assert (summary.num_before, summary.num_augmented, summary.num_failed) == (4, 4, 1)
    assert (tmp_path / "a.failed.jsonl").read_text().count("\n") == 1


def test_new_documents_join_those_that_are_done(tmp_path: Path, documents: list[Document]) -> None:
    output = tmp_path / "a.jsonl"
    run_augmentation(documents[:2], TemplateGenerator(), output)
    summary = run_augmentation(documents, TemplateGenerator(), output)
    assert str(summary) == "5 documents: 5 augmented, 2 of them before"


def test_what_was_delivered_before_an_interruption_is_kept(
    tmp_path: Path, documents: list[Document]
) -> None:
    class Interrupted(TemplateGenerator):
        def augment(
            self, documents: Sequence[Document], deliver: Callable[[Outcome], None]
        ) -> Usage:
            super().augment(documents[:2], deliver)
            raise KeyboardInterrupt

    output = tmp_path / "a.jsonl"
    with pytest.raises(KeyboardInterrupt):
        run_augmentation(documents, Interrupted(), output)
    summary = run_augmentation(documents, TemplateGenerator(), output)
    assert (summary.num_before, summary.num_augmented) == (2, 5)


def test_no_documents_are_nothing_to_do(tmp_path: Path) -> None:
    summary = run_augmentation([], TemplateGenerator(), tmp_path / "a.jsonl")
    assert str(summary) == "0 documents: nothing to do"
