"""Forecasts of how long a run takes."""

from pathlib import Path

import pytest
from lightning import Callback, LightningModule, Trainer

from prag_lightning.adapters.layout import LoraConfig
from prag_lightning.callbacks import slot_finder as tuning
from prag_lightning.callbacks.slot_finder import forecast_seconds
from prag_lightning.encoding.durations import duration
from prag_lightning.encoding.plan import EncodingSteps, EncodingTask, TrainingPrompt
from prag_lightning.language_model.prompts import PromptEncoder
from prag_lightning.module import ParametricRAG
from tests.conftest import tiny_tokenizer
from tests.test_module import Steps, encode, tasks

LORA = LoraConfig(rank=2, alpha=32)


def test_a_length_of_time_has_two_digits_and_a_unit() -> None:
    lengths = (0.4, 89, 91, 90 * 60, 2 * 3600, 47 * 3600, 10 * 86400)
    assert [duration(seconds) for seconds in lengths] == [
        "0 s", "89 s", "2 min", "90 min", "2 h", "47 h", "10 days",
    ]  # fmt: skip


@pytest.mark.parametrize("num_documents", [3, 300])
def test_the_tokens_of_an_encoding_are_estimated_from_documents_of_all_lengths(
    num_documents: int,
) -> None:
    work = [
        EncodingTask(str(n), [TrainingPrompt("q", ("word " * n,), "a")] * 2)
        for n in range(num_documents)
    ]
    steps = EncodingSteps(work, 4, PromptEncoder(tiny_tokenizer()), passes=3)
    whole = sum(steps[index].num_tokens for index in range(len(steps)))
    assert steps.estimate_num_tokens() == pytest.approx(whole, rel=0.02)


class Forecast(Callback):
    """Asks how long a run will take, as it begins."""

    seconds: float | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, ParametricRAG)
        assert trainer.train_dataloader is not None
        self.seconds = forecast_seconds(trainer, pl_module, trainer.train_dataloader.dataset)


def test_a_forecast_is_the_measured_time_of_all_tokens_and_changes_no_adapter(
    base_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tasks()
    plain = encode(ParametricRAG(str(base_dir), LORA, num_slots=2), Steps(work, 2))
    forecast = Forecast()
    module = ParametricRAG(str(base_dir), LORA, num_slots=2)
    rows = encode(module, Steps(work, 2), callbacks=[forecast])
    assert forecast.seconds is None
    monkeypatch.setattr(tuning, "_FEWEST_STEPS", 1)
    # A clock on which every step takes a second.
    ticks = iter(range(1000))
    monkeypatch.setattr("time.perf_counter", lambda: float(next(ticks)))
    module = ParametricRAG(str(base_dir), LORA, num_slots=2)
    rows = encode(module, Steps(work, 2), callbacks=[forecast])
    # As many seconds as steps of the trial's mean length.
    num_steps = len(Steps(work, 2).steps)
    assert forecast.seconds == pytest.approx(num_steps, rel=0.25)
    assert all((row == plain[name]).all() for name, row in rows.items())
    assert rows.keys() == plain.keys()
