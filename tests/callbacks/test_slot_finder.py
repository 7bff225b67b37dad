"""The number of slots that is chosen: which, why, and that the choice changes no adapter."""

from pathlib import Path

import pytest
import torch
from lightning import Trainer
from torch.utils.data import DataLoader

from prag_lightning.callbacks import SlotFinder
from prag_lightning.callbacks import slot_finder as tuning
from prag_lightning.callbacks.slot_finder import affordable_numbers
from prag_lightning.encoding.batches import EncodingBatch
from prag_lightning.encoding.plan import EncodingSteps
from prag_lightning.language_model.prompts import PromptEncoder
from prag_lightning.module import ParametricRAG
from tests.conftest import tiny_tokenizer
from tests.test_module import LORA, Steps, encode, tasks


class Auto(Steps):
    """Documents in as many slots as it is told."""

    num_slots = 1

    def set_num_slots(self, num_slots: int) -> None:
        self.num_slots = num_slots

    def encoding_steps(self, num_slots: int) -> EncodingSteps:
        return EncodingSteps(self.steps.tasks, num_slots, PromptEncoder(tiny_tokenizer()))

    def train_dataloader(self) -> DataLoader[EncodingBatch]:
        return DataLoader(self.encoding_steps(self.num_slots), batch_size=None)


def choose(
    base_dir: Path, monkeypatch: pytest.MonkeyPatch, speeds: dict[int, float], num_documents: int
) -> int:
    """Fit with trials of given speeds, out of memory where there is none, and return the choice."""

    def speed(
        trainer: Trainer, module: ParametricRAG, steps: EncodingSteps, num_slots: int
    ) -> float:
        assert steps.schedule[0][-1].slot == min(num_slots, num_documents) - 1
        if num_slots not in speeds:
            raise torch.OutOfMemoryError("no room")
        return speeds[num_slots]

    monkeypatch.setattr(tuning, "_tokens_per_second", speed)
    monkeypatch.setattr(tuning, "_MOST_SHARE", 1e9)
    module = ParametricRAG(str(base_dir), LORA)
    data = Auto(tasks(num_documents), 1)
    encode(module, data, callbacks=[SlotFinder()])
    assert data.num_slots == module.bank.num_slots
    return module.bank.num_slots


@pytest.mark.parametrize(
    ("speeds", "chosen", "reason"),
    [
        # 8 is the fastest, but not by so much more than 4 that it is worth its memory.
        ({1: 100, 2: 150, 4: 240, 8: 241, 16: 200}, 4, "(1: 100, 2: 150, 4: 240, 8: 241, 16: 200)"),
        # Four times the best is far enough.
        ({1: 100, 2: 90, 4: 80, 8: 1000}, 1, "(1: 100, 2: 90, 4: 80)"),
        # No room for 4.
        ({1: 100, 2: 150}, 2, "(1: 100, 2: 150)"),
    ],
)
def test_the_fastest_number_of_slots_is_chosen_and_said_with_the_speed_of_each(
    base_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    speeds: dict[int, float],
    chosen: int,
    reason: str,
) -> None:
    assert choose(base_dir, monkeypatch, speeds, num_documents=20) == chosen
    said = capsys.readouterr().out
    # What takes its time is said before.
    assert said.startswith("trying which num_slots is the fastest: 1, 2, 4, 8, 16\n")
    assert f"num_slots {chosen}, the fastest in tokens a second {reason}" in said


def test_there_are_no_more_slots_than_documents(
    base_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speeds = {number: float(number) for number in (1, 2, 4, 8)}
    assert choose(base_dir, monkeypatch, speeds, num_documents=3) == 2


def test_trials_leave_the_adapters_as_they_are_without(
    base_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work = tasks(4)
    original = tuning._best
    # The slowest may be chosen as well as the fastest: here always 4.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuning, "_MOST_SHARE", 1e9)
        patch.setattr(tuning, "_best", lambda trials: original(trials)._replace(num_slots=4))
        rows = encode(ParametricRAG(str(base_dir), LORA), Auto(work, 1), callbacks=[SlotFinder()])
    expected = encode(ParametricRAG(str(base_dir), LORA, num_slots=4), Steps(work, 4))
    assert "num_slots 4, the fastest in tokens a second (1: " in capsys.readouterr().out
    assert rows.keys() == expected.keys()
    assert all(torch.equal(row, expected[name]) for name, row in rows.items())


@pytest.mark.parametrize("num_steps", [0, 10, 149, 450, 1200, 5000, 100_000])
def test_trials_read_at_most_a_fiftieth_of_what_the_run_reads(num_steps: int) -> None:
    numbers = affordable_numbers(num_steps, num_documents=1000)
    assert numbers == [2**n for n in range(len(numbers))]
    # Three steps each, of as many documents as there are slots.
    assert 3 * sum(numbers) <= num_steps / 50
    one_more = [*numbers, 2 ** len(numbers)]
    assert 3 * sum(one_more) > num_steps / 50 or numbers[-1] == 64
    assert affordable_numbers(100_000, num_documents=5) == [1, 2, 4]


def test_a_short_run_tries_nothing_and_says_so(
    base_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "_tokens_per_second", None)
    module = ParametricRAG(str(base_dir), LORA)
    encode(module, Auto(tasks(10), 1), callbacks=[SlotFinder()])
    assert module.bank.num_slots == 8
    assert capsys.readouterr().out == (
        "num_slots 8: the run is too short to try which is the fastest\n"
    )
