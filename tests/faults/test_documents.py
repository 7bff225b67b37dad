"""Documents that cannot be encoded, and those beside them that can."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from prag_lightning.cli.exit_status import DONE, SOME_FAILED
from prag_lightning.cli.main import main
from prag_lightning.documents.records import (
    Augmentation,
    Document,
    QuestionAnswer,
    read_records,
    write_records,
)
from prag_lightning.encoding.batches import EncodingBatch
from prag_lightning.encoding.slot_trainer import SlotTrainer
from tests.faults.runs import assert_same, stored


def fit(base_dir: Path, folder: Path, root: Path, *options: str, num_slots: int = 2) -> int:
    """Run ``prag fit`` in this process and return its exit status."""
    words = [
        *("fit", "--trainer.accelerator", "cpu", "--trainer.default_root_dir", str(root)),
        *("--model.base", str(base_dir), "--model.num_slots", str(num_slots)),
        *("--data.folder", str(folder), "--model.lr", "0.003", *options),
    ]
    return main(words)


def write_folder(folder: Path, texts: dict[str, str]) -> None:
    """Write documents with these texts by id, each with the same two questions."""
    qas = [
        QuestionAnswer(question=f"What is {n}?", answer=str(n), full_answer=f"It is {n}.")
        for n in range(2)
    ]
    write_records(folder / "documents.jsonl", [Document(id=i, text=t) for i, t in texts.items()])
    write_records(
        folder / "augmentations.jsonl",
        [Augmentation(document_id=i, rewrites=["Again."], qas=qas) for i in texts],
    )


def fail_document(monkeypatch: pytest.MonkeyPatch, document_id: str, error: Exception) -> list[int]:
    """Let every forward pass over this document, but its first, fail; return with how many."""
    real, passes, widths = SlotTrainer._accumulate_at_once, [0], list[int]()

    def accumulate(self: SlotTrainer, batch: EncodingBatch) -> Tensor:
        if document_id in batch.documents.values():
            passes[0] += 1
            if passes[0] > 1:
                widths.append(len(batch.slots))
                raise error
        return real(self, batch)

    monkeypatch.setattr(SlotTrainer, "_accumulate_at_once", accumulate)
    return widths


def test_a_document_that_no_memory_can_hold_fails_alone_and_the_rest_train_on(
    base_dir: Path,
    world: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert fit(base_dir, world, tmp_path / "whole", num_slots=4) == DONE
    expected = stored(tmp_path / "whole" / "adapters")
    unlucky = sorted(expected)[1]
    widths = fail_document(monkeypatch, unlucky, torch.OutOfMemoryError("no room"))
    assert fit(base_dir, world, tmp_path / "run", num_slots=4) == SOME_FAILED
    # Halved, halved again, alone; then it is left out and the others go on side by side.
    assert widths == [4, 2, 1]
    out = capfd.readouterr().out
    reason = "out of memory at step 2, even with no other document"
    assert f"not encoded: {unlucky}: {reason}" in out
    del expected[unlucky]
    assert_same(stored(tmp_path / "run" / "adapters"), expected, 1e-6)


def test_the_next_run_tries_a_document_again_that_failed(
    base_dir: Path, world: Path, tmp_path: Path, undisturbed: dict[str, Tensor]
) -> None:
    unlucky = sorted(undisturbed)[1]
    with pytest.MonkeyPatch.context() as patched:
        fail_document(patched, unlucky, torch.OutOfMemoryError("no room"))
        assert fit(base_dir, world, tmp_path, num_slots=1) == SOME_FAILED
    assert unlucky not in stored(tmp_path / "adapters")
    assert fit(base_dir, world, tmp_path, num_slots=1) == DONE
    assert_same(stored(tmp_path / "adapters"), undisturbed, 0.0)


def test_a_loss_that_is_not_finite_costs_its_document_and_no_bit_of_the_next(
    base_dir: Path,
    world: Path,
    tmp_path: Path,
    undisturbed: dict[str, Tensor],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    # One slot: every document follows another in it.
    unlucky = sorted(undisturbed)[2]
    real, num_steps = SlotTrainer._accumulate_at_once, [0]

    def accumulate(self: SlotTrainer, batch: EncodingBatch) -> Tensor:
        losses = real(self, batch)
        if unlucky in batch.documents.values():
            num_steps[0] += 1
            if num_steps[0] == 3:
                # So do the adapter and the optimizer's moments become.
                self.bank.grad.fill_(torch.inf)
                return losses * torch.inf
        return losses

    monkeypatch.setattr(SlotTrainer, "_accumulate_at_once", accumulate)
    assert fit(base_dir, world, tmp_path, num_slots=1) == SOME_FAILED
    out = capfd.readouterr().out
    assert f"not encoded: {unlucky}: its loss is not a finite number at step 3" in out
    rest = {name: row for name, row in undisturbed.items() if name != unlucky}
    assert_same(stored(tmp_path / "adapters"), rest, 0.0)


def test_documents_without_text_are_listed_and_one_word_is_enough(
    base_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_folder(tmp_path, {"nothing": "", "space": " \n\t", "word": "Lund"})
    assert fit(base_dir, tmp_path, tmp_path / "run") == SOME_FAILED
    out = capfd.readouterr().out
    assert "1 of 3 documents are in" in out
    assert "not encoded: nothing: its text is empty" in out
    assert "not encoded: space: its text is empty" in out
    assert list(stored(tmp_path / "run" / "adapters")) == ["word"]


def test_a_document_of_100_000_tokens_is_cut_and_that_is_said(
    base_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    text = " ".join(str(number) for number in range(30_000))
    write_folder(tmp_path, {"long": text, "short": "Lund is a town."})
    assert len(text) > 100_000
    options = ["--data.max_tokens", "200"]
    assert fit(base_dir, tmp_path, tmp_path / "run", *options) == DONE
    assert "documents with prompts cut to data.max_tokens 200: 1 (long)\n" in capfd.readouterr().out
    # Its first words were read, and no others: another end gives the same adapter.
    write_folder(tmp_path / "other", {"long": text[:2000], "short": "Lund is a town."})
    assert fit(base_dir, tmp_path / "other", tmp_path / "again", *options) == DONE
    found, again = (stored(tmp_path / name / "adapters")["long"] for name in ("run", "again"))
    torch.testing.assert_close(found, again, rtol=0, atol=0.02)
    capfd.readouterr()
    # The base was made for 512.
    assert fit(base_dir, tmp_path, tmp_path / "long", "--data.max_tokens", "700") == DONE
    said = "documents with prompts beyond the 512 tokens that the base was made for; lower data."
    assert said in capfd.readouterr().out
    write_folder(tmp_path / "other", {"short": "Lund is a town."})
    assert fit(base_dir, tmp_path / "other", tmp_path / "whole", *options) == DONE
    out = capfd.readouterr().out
    assert "documents with prompts" not in out


def test_a_line_that_stands_twice_counts_once_and_that_is_said(
    base_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_folder(tmp_path, {"a": "Ada was born in Paris.", "b": "Bo was not."})
    lines = (tmp_path / "documents.jsonl").read_text()
    (tmp_path / "documents.jsonl").write_text(lines + lines.splitlines()[0] + "\n")
    assert fit(base_dir, tmp_path, tmp_path / "run") == DONE
    out = capfd.readouterr().out
    assert "documents.jsonl: lines that repeat an earlier one, and count once: 1" in out
    assert "2 of 2 documents are in" in out


def test_a_clock_that_jumps_changes_nothing(
    base_dir: Path,
    world: Path,
    tmp_path: Path,
    undisturbed: dict[str, Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    readings = iter(range(10_000_000))
    # Years ahead, years back, at every look.
    monkeypatch.setattr("time.time", lambda: 1e9 * (1 + next(readings) % 2))
    assert fit(base_dir, world, tmp_path, num_slots=1) == DONE
    assert_same(stored(tmp_path / "adapters"), undisturbed, 0.0)


def answer(base_dir: Path, world: Path, root: Path, *options: str) -> int:
    """Run ``prag test`` of the method ``own`` on a run's adapters."""
    words = [
        *("test", "--trainer.accelerator", "cpu", "--trainer.default_root_dir", str(root)),
        *("--model.base", str(base_dir), "--model.lr", "0.003", "--model.max_new_tokens", "2"),
        *("--data.folder", str(world), "--data.methods", '["own"]', *options),
    ]
    return main(words)


def test_a_document_without_an_adapter_stops_an_evaluation_or_is_counted(
    base_dir: Path, world: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fewer = tmp_path / "world"
    first, *rest = read_records(world / "documents.jsonl", Document)
    write_records(fewer / "documents.jsonl", rest)
    (fewer / "augmentations.jsonl").write_bytes((world / "augmentations.jsonl").read_bytes())
    assert fit(base_dir, fewer, tmp_path / "run") == DONE
    assert answer(base_dir, world, tmp_path / "run") == 2
    assert f"document '{first.id}' was retrieved but has no adapter" in capfd.readouterr().err
    skip = ["--evaluation.on_missing", "skip"]
    assert answer(base_dir, world, tmp_path / "run", *skip) == DONE
    out = capfd.readouterr().out
    num_missing = sum(
        first.id in json.loads(line)["document_ids"]
        for line in (world / "questions.jsonl").read_text().splitlines()
    )
    assert f"own: {num_missing} retrieved documents had no adapter and were left out" in out


def test_a_damaged_adapter_stops_an_evaluation_by_name(
    base_dir: Path, world: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert fit(base_dir, world, tmp_path) == DONE
    (shard,) = (tmp_path / "adapters").glob("writer-*/*.safetensors")
    with shard.open("rb+") as file:
        file.seek(4096)
        file.write(b"!")
    assert answer(base_dir, world, tmp_path, "--evaluation.on_missing", "skip") == 2
    assert "is damaged; run `prag store verify STORE --repair true`" in capfd.readouterr().err
