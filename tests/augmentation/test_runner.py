"""Runs that stop and go on."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from prag_lightning.augmentation.asking import ModelAugmenter
from prag_lightning.augmentation.base import Augmenter, Listener
from prag_lightning.augmentation.outcomes import Failure, Usage
from prag_lightning.augmentation.requests import Reply
from prag_lightning.augmentation.runner import run_augmentation
from prag_lightning.augmentation.settings import Order
from prag_lightning.augmentation.template import TemplateAugmenter
from prag_lightning.documents.digests import augmentation_is_current
from prag_lightning.documents.records import Augmentation, Document, read_records

_GOOD = '[{"question": "Who was born?", "answer": "Ada", "full_answer": "It was Ada."}]'


class _Failing(ModelAugmenter):
    """Gives no pairs to document d1."""

    settings = {"generator": "failing"}  # noqa: RUF012

    def __init__(self, max_attempts: int = 2, num_rewrites: int = 0) -> None:
        super().__init__(Order(num_rewrites, 1, max_attempts))
        self.asked: list[tuple[str, str]] = []

    def run(self, documents: Sequence[Document], listener: Listener) -> Usage:
        self.announce(documents, listener)
        usage = Usage()
        for draft in self.begin(documents, listener):
            while requests := draft.requests:
                name = requests[0].name
                self.asked.append((draft.document_id, name))
                answer = "Ada lived in London, her whole life." if "rewrite" in name else _GOOD
                if draft.document_id == "d1" and "rewrite" not in name:
                    answer = "no"
                self.take(draft, requests[0], Reply(answer, Usage(1, 10, 2)), listener)
            usage += draft.outcome.usage
        return usage


def test_a_run_cut_off_at_any_byte_goes_on_to_the_same_file(tmp_path: Path) -> None:
    documents = [Document(id=f"é{n}", text="Ada ran.") for n in range(2)]
    augmenter = TemplateAugmenter(num_rewrites=0, num_qas=1)
    output = tmp_path / "augmentations.jsonl"
    run_augmentation(documents, augmenter, output)
    whole = output.read_bytes()
    for end in range(len(whole)):
        output.write_bytes(whole[:end])
        summary = run_augmentation(documents, augmenter, output)
        assert output.read_bytes() == whole
        assert summary.num_before == whole[:end].count(b"\n")
        assert summary.num_augmented == 2


def test_a_failed_document_is_recorded_and_the_run_goes_on(
    tmp_path: Path, documents: list[Document]
) -> None:
    augmenter = _Failing()
    summary = run_augmentation(documents, augmenter, tmp_path / "a.jsonl")
    # A list twice, then a single pair twice.
    assert [name for name, _ in augmenter.asked] == ["d0", *["d1"] * 4, "d2", "d3", "d4"]
    assert (summary.num_augmented, summary.num_failed, summary.num_missing) == (4, 1, 0)
    lines = str(summary).splitlines()
    assert lines[0] == "5 documents: 4 augmented, 1 failed"
    assert lines[1].startswith("8 requests, 4 answers of no use, 80 tokens read, 16 written, ")


def test_a_failed_document_is_tried_again_only_if_more_attempts_are_allowed(
    tmp_path: Path, documents: list[Document]
) -> None:
    output = tmp_path / "a.jsonl"
    run_augmentation(documents, _Failing(max_attempts=2), output)
    again = _Failing(max_attempts=2)
    summary = run_augmentation(documents, again, output)
    assert again.asked == []
    assert str(summary) == (
        "5 documents: 4 augmented, 4 of them before, 1 failed; there was nothing to do"
    )
    more = _Failing(max_attempts=3)
    summary = run_augmentation(documents, more, output)
    assert {name for name, _ in more.asked} == {"d1"}
    assert (summary.num_before, summary.num_augmented, summary.num_failed) == (4, 4, 1)
    assert (tmp_path / "a.failed.jsonl").read_text().count("\n") == 1


def test_a_good_rewrite_is_kept_though_pairs_fail_and_is_not_asked_for_again(
    tmp_path: Path, documents: list[Document]
) -> None:
    output = tmp_path / "a.jsonl"
    summary = run_augmentation(documents, _Failing(num_rewrites=1), output)
    assert (summary.num_augmented, summary.num_failed) == (4, 1)
    made = {record.document_id: record for record in read_records(output, Augmentation)}
    assert len(made) == 5
    assert (len(made["d1"].rewrites), made["d1"].qas) == (1, [])
    more = _Failing(max_attempts=3, num_rewrites=1)
    run_augmentation(documents, more, output)
    assert {what for _, what in more.asked} == {"question-answer pairs", "pair 1"}
    again = {record.document_id: record for record in read_records(output, Augmentation)}
    assert again == made


def test_new_documents_join_those_that_are_done(tmp_path: Path, documents: list[Document]) -> None:
    output = tmp_path / "a.jsonl"
    run_augmentation(documents[:2], TemplateAugmenter(), output)
    summary = run_augmentation(documents, TemplateAugmenter(), output)
    assert str(summary) == "5 documents: 5 augmented, 2 of them before"


def test_an_edited_document_is_augmented_anew_and_no_other(
    tmp_path: Path, documents: list[Document]
) -> None:
    output = tmp_path / "a.jsonl"
    run_augmentation(documents, TemplateAugmenter(num_qas=2), output)
    before = {record.document_id: record for record in read_records(output, Augmentation)}
    edited = documents[1].model_copy(update={"text": "Bo was born in Rome. He lived to be 90."})
    documents[1] = edited
    assert not augmentation_is_current(edited, before["d1"])
    summary = run_augmentation(documents, TemplateAugmenter(num_qas=2), output)
    assert str(summary) == (
        "5 documents: 5 augmented, 4 of them before, 1 anew, for its text has changed"
    )
    after = {record.document_id: record for record in read_records(output, Augmentation)}
    assert augmentation_is_current(edited, after["d1"])
    assert "Rome" in after["d1"].rewrites[0]
    assert "Ada" not in after["d1"].model_dump_json()
    assert {name: after[name] for name in after if name != "d1"} == {
        name: before[name] for name in before if name != "d1"
    }
    assert str(run_augmentation(documents, TemplateAugmenter(num_qas=2), output)) == (
        "5 documents: 5 augmented, 5 of them before; there was nothing to do"
    )


def test_a_failed_document_that_was_edited_is_tried_again(tmp_path: Path) -> None:
    output = tmp_path / "a.jsonl"
    empty = Document(id="d", text="...")
    assert run_augmentation([empty], TemplateAugmenter(num_qas=2), output).num_failed == 1
    assert run_augmentation([empty], TemplateAugmenter(num_qas=2), output).num_todo == 0
    written = empty.model_copy(update={"text": "Ada was born in London. She lived to be 30."})
    summary = run_augmentation([written], TemplateAugmenter(num_qas=2), output)
    assert (summary.num_augmented, summary.num_failed) == (1, 0)
    assert (tmp_path / "a.failed.jsonl").read_text() == ""


def test_what_was_delivered_before_an_interruption_is_kept(
    tmp_path: Path, documents: list[Document]
) -> None:
    class Interrupted(TemplateAugmenter):
        def run(self, documents: Sequence[Document], listener: Listener) -> Usage:
            super().run(documents[:2], listener)
            raise KeyboardInterrupt

    output = tmp_path / "a.jsonl"
    with pytest.raises(KeyboardInterrupt):
        run_augmentation(documents, Interrupted(), output)
    summary = run_augmentation(documents, TemplateAugmenter(), output)
    assert (summary.num_before, summary.num_augmented) == (2, 5)


class _Odd(Augmenter):
    """Returns what it is told to."""

    def __init__(self, *results: Augmentation | Failure) -> None:
        self._results = results

    def augment(self, documents: Sequence[Document]) -> Iterator[Augmentation | Failure]:
        yield from self._results


def test_an_augmenter_from_outside_cannot_return_what_it_was_not_asked_for(
    tmp_path: Path, documents: list[Document]
) -> None:
    known = Augmentation(document_id="d0", rewrites=["So."], qas=[])
    for result in ([known.model_copy(update={"document_id": "x"})], [known, known]):
        with pytest.raises(ValueError, match="which it was not given, or a second time"):
            run_augmentation(documents, _Odd(*result), tmp_path / "a.jsonl")


def test_what_an_augmenter_from_outside_leaves_out_is_said(
    tmp_path: Path, documents: list[Document]
) -> None:
    results = (
        Augmentation(document_id="d0", rewrites=["So."], qas=[]),
        Failure(document_id="d1", reason="It is too short."),
    )
    summary = run_augmentation(documents, _Odd(*results), tmp_path / "a.jsonl")
    assert str(summary) == "5 documents: 1 augmented, 1 failed, 3 not reached"
    (made,) = read_records(tmp_path / "a.jsonl", Augmentation)
    assert made.text_digest is not None


def test_no_documents_are_nothing_to_do(tmp_path: Path) -> None:
    summary = run_augmentation([], TemplateAugmenter(), tmp_path / "a.jsonl")
    assert str(summary) == "0 documents; there was nothing to do"
