"""The loader of an encoding: the same batches in the same order, made ahead in a thread."""

import threading

import pytest
import torch
from torch import Tensor
from torch.utils.data import SequentialSampler

from prag_lightning.encoding import steps_ahead
from prag_lightning.encoding.batches import EncodingBatch
from prag_lightning.encoding.plan import EncodingSteps, EncodingTask, TrainingPrompt
from prag_lightning.encoding.steps_ahead import StepsAhead
from prag_lightning.language_model.prompts import PromptEncoder
from tests.conftest import tiny_tokenizer


def steps() -> EncodingSteps:
    tasks = [
        EncodingTask(name, [TrainingPrompt(f"q{n}", (name,), f"a{n}") for n in range(3)])
        for name in "abcdefgh"
    ]
    return EncodingSteps(tasks, 2, PromptEncoder(tiny_tokenizer()))


def loader(dataset: EncodingSteps, pin_memory: bool = False) -> StepsAhead:
    return StepsAhead(dataset, SequentialSampler(dataset), 0, pin_memory)


def test_batches_come_in_order_and_are_the_steps_own() -> None:
    dataset = steps()
    found = list(loader(dataset))
    assert len(found) == len(dataset) == 12
    for one, expected in zip(found, (dataset[index] for index in range(12)), strict=True):
        assert (one.begins, one.ends) == (expected.begins, expected.ends)
        torch.testing.assert_close(one.parts[0].input_ids, expected.parts[0].input_ids)


def test_batches_are_made_ahead_in_a_thread_with_its_own_tokenizer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[tuple[int, bool, bool]] = []
    dataset, main = steps(), threading.get_ident()
    make = EncodingSteps.__getitem__

    def noted(self: EncodingSteps, index: int) -> EncodingBatch:
        shares = self.encoder.tokenizer is dataset.encoder.tokenizer
        made.append((index, threading.get_ident() == main, shares))
        return make(self, index)

    monkeypatch.setattr(EncodingSteps, "__getitem__", noted)
    batches = iter(loader(dataset))
    next(batches)
    # Closing waits for the batch that is being made.
    batches.close()
    assert made[0] == (0, False, False)
    assert 1 <= len(made) <= 1 + steps_ahead._NUM_AHEAD
    assert not any("steps-ahead" in thread.name for thread in threading.enumerate())


def test_an_error_in_the_thread_is_raised_where_the_batch_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(self: EncodingSteps, index: int) -> EncodingBatch:
        raise ValueError(f"step {index} cannot be made")

    monkeypatch.setattr(EncodingSteps, "__getitem__", fail)
    with pytest.raises(ValueError, match="step 0 cannot be made"):
        list(loader(steps()))


def test_a_pinned_batch_has_all_its_tensors_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    pinned: list[Tensor] = []

    def pin(tensor: Tensor) -> Tensor:
        pinned.append(tensor)
        return tensor

    # Without a GPU there is no memory to pin.
    monkeypatch.setattr(Tensor, "pin_memory", pin)
    (first, *_) = loader(steps(), pin_memory=True)
    count = len(list(loader(steps())))
    assert len(pinned) == count * (1 + 5 * len(first.parts))
    assert all(tensor.is_contiguous() for tensor in pinned)
