import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from prag_lightning.language_model.base_model import load_tokenizer
from tools.demo_training import train as training
from tools.demo_training.evaluate import ABILITIES
from tools.demo_training.train import Run, Settings, build_model, rate, train

TOKENIZER = load_tokenizer("demo")
SETTINGS = Settings(num_steps=3, tokens_per_step=600, num_known=10)


@pytest.fixture(autouse=True)
def _tokenizer_is_built_already(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "build_tokenizer", lambda texts: TOKENIZER)


def run_in(folder: Path) -> Run:
    return Run(
        output_dir=folder / "base",
        checkpoint_dir=folder / "checkpoints",
        device=torch.device("cpu"),
        evaluate_every=2,
        num_questions=2,
    )


class Stopped(Exception):
    pass


@pytest.mark.slow
def test_a_stopped_training_ends_with_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(SETTINGS, run_in(tmp_path / "whole"))
    torch.manual_seed(SETTINGS.seed)
    untrained = build_model(TOKENIZER)

    steps: list[int] = []

    def stop_at_the_third(step: int, num_steps: int) -> float:
        steps.append(step)
        if step == 2 and steps.count(2) == 1:
            raise Stopped
        return rate(step, num_steps)

    monkeypatch.setattr(training, "rate", stop_at_the_third)
    with pytest.raises(Stopped):
        train(SETTINGS, run_in(tmp_path / "stopped"))
    resumed = train(SETTINGS, run_in(tmp_path / "stopped"))
    assert steps == [0, 1, 2, 2]
    for (name, weight), expected in zip(
        resumed.named_parameters(), whole.parameters(), strict=True
    ):
        assert torch.equal(weight, expected), name
    assert not torch.equal(whole.lm_head.weight, untrained.lm_head.weight)


def test_a_training_leaves_a_base_in_bfloat16_and_one_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = train(SETTINGS, run_in(tmp_path))
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    assert base.dtype == torch.bfloat16
    assert torch.equal(base.lm_head.weight, model.lm_head.weight.to(torch.bfloat16))
    assert [folder.name for folder in (tmp_path / "checkpoints").iterdir()] == ["step-00000003"]
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["step"] for row in rows] == [2, 3]
    assert ABILITIES.keys() <= rows[-1].keys()


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path) -> None:
    train(SETTINGS, run_in(tmp_path))
    other = Settings(num_steps=3, tokens_per_step=600, num_known=12)
    with pytest.raises(ValueError, match=r"made with settings .*'num_known': 10.* give another"):
        train(other, run_in(tmp_path))


def test_the_learning_rate_rises_to_its_highest_and_falls_to_almost_nothing() -> None:
    rates = [rate(step, 1000) for step in range(1000)]
    assert rates[0] < rates[50] < rates[99] == 1.0
    assert rates[100:] == sorted(rates[100:], reverse=True)
    assert rates[-1] == pytest.approx(0.02, abs=1e-4)
