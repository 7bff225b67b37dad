"""What is said of a processor that is faster in another precision."""

import pytest
import torch
from transformers import PreTrainedModel

from prag_lightning.language_model import processor
from prag_lightning.language_model.processor import bfloat16_gain, precision_advice
from tests.conftest import tiny_base


@pytest.fixture
def base(monkeypatch: pytest.MonkeyPatch) -> PreTrainedModel:
    """A float32 model that counts as a large one, on a processor that is faster in bfloat16."""
    monkeypatch.setattr(processor, "_FEWEST_PARAMETERS", 1000)
    monkeypatch.setattr(processor, "bfloat16_gain", lambda: 2.14)
    return tiny_base()


def test_bfloat16_is_advised_where_it_is_faster(base: PreTrainedModel) -> None:
    advice = precision_advice(base, "32-true")
    assert advice is not None
    assert "bfloat16 2.1 times as fast as float32; --trainer.precision bf16-true" in advice


def test_nothing_is_advised_where_it_is_slower_or_done_already(
    base: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert precision_advice(base, "bf16-true") is None
    assert precision_advice(base, "64-true") is None
    assert precision_advice(tiny_base(dtype=torch.bfloat16), "32-true") is None
    monkeypatch.setattr(processor, "bfloat16_gain", lambda: 1.2)
    assert precision_advice(base, "32-true") is None


def test_nothing_is_advised_for_a_small_model(
    base: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processor, "_FEWEST_PARAMETERS", 50_000_000)
    assert precision_advice(base, "32-true") is None


def test_the_gain_is_measured_once() -> None:
    assert bfloat16_gain() > 0
    assert bfloat16_gain() == bfloat16_gain()
