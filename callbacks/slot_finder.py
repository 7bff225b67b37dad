"""Short trials that find the fastest number of slots and forecast the time of a run."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, cast

import torch
from lightning import Callback, LightningModule, Trainer

from prag_lightning.datamodule import DocumentDataModule
from prag_lightning.documents.still_running import still_running
from prag_lightning.encoding.batches import EncodingBatch
from prag_lightning.encoding.durations import duration
from prag_lightning.encoding.plan import EncodingSteps
from prag_lightning.module import ParametricRAG

_MOST_SLOTS = 64
# Number of slots for runs that are too short for trials.
_UNTRIED_SLOTS = 8
# All trials together read at most this share of the run's tokens.
_MOST_SHARE = 0.02
# Measured steps of a trial, after one step of warm-up.
_TRIAL_STEPS = 2
# Steps of a forecast.
_NUM_STEPS = 4
# The search stops after trials up to this many times the best number of slots.
_PATIENCE = 4
# More slots must be faster by this factor, because they take more memory.
_WORTHWHILE = 1.03
# A forecast takes 5 steps; in shorter runs that is more than a fortieth of the time.
_FEWEST_STEPS = 200


class Trial(NamedTuple):
    """The measured speed of a number of slots."""

    num_slots: int
    tokens_per_second: float


class SlotFinder(Callback):
    """Finds how many documents should train at once, and forecasts the time of encoding.

    If the module's ``num_slots`` is ``auto``, it tries 1, 2, 4, ... slots at the start of ``fit``,
    for at most a fiftieth of the run, and sets module and data module to the fastest number. Any
    other number is passed on to the data module. List it after `AdapterWriter`, which knows what is
    already encoded.
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Choose the number of slots."""
        module = cast(ParametricRAG, pl_module)
        data = cast(DocumentDataModule, cast(Any, trainer).datamodule)
        if module.num_slots == "auto":
            num_slots = self._fastest(trainer, module, data.encoding_steps)
        else:
            num_slots = module.num_slots
        module.set_num_slots(num_slots)
        data.set_num_slots(num_slots)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the forecast."""
        loader: Any = trainer.train_dataloader
        with still_running(lambda: "taking five steps to see how long it will take"):
            seconds = forecast_seconds(trainer, cast(ParametricRAG, pl_module), loader.dataset)
        if seconds is not None:
            print(f"time to come: about {duration(seconds)}")

    def _fastest(
        self,
        trainer: Trainer,
        module: ParametricRAG,
        make_steps: Callable[[int], EncodingSteps],
    ) -> int:
        """Return the fastest of 1, 2, 4, ... slots, and report it."""
        one_by_one = make_steps(1)
        numbers = affordable_numbers(len(one_by_one), len(one_by_one.tasks))
        if len(numbers) < 2:
            num_slots = max(1, min(_UNTRIED_SLOTS, len(one_by_one.tasks)))
            if one_by_one.tasks:
                print(f"num_slots {num_slots}: the run is too short to try which is the fastest")
            return num_slots
        print(f"trying which num_slots is the fastest: {', '.join(map(str, numbers))}")
        trials: list[Trial] = []
        for num_slots in numbers:
            try:
                with still_running(partial("trying num_slots {}".format, num_slots)):
                    speed = _tokens_per_second(trainer, module, make_steps(num_slots), num_slots)
            except torch.OutOfMemoryError:
                break
            trials.append(Trial(num_slots, speed))
            if num_slots >= _best(trials).num_slots * _PATIENCE:
                break
        best = _best(trials)
        speeds = ", ".join(f"{t.num_slots}: {t.tokens_per_second:,.0f}" for t in trials)
        print(f"num_slots {best.num_slots}, the fastest in tokens a second ({speeds})")
        return best.num_slots


def affordable_numbers(num_steps: int, num_documents: int) -> list[int]:
    """Return the numbers of slots to try: 1, 2, 4, ... while trials are a small part of the run.

    Args:
        num_steps: Steps of the run with one slot; a step with n slots takes about n times as long.
        num_documents: Documents to encode.

    >>> affordable_numbers(1200, 40)
    [1, 2, 4]
    """
    numbers = []
    left, number = _MOST_SHARE * num_steps, 1
    while number <= min(_MOST_SLOTS, num_documents) and number * (1 + _TRIAL_STEPS) <= left:
        numbers.append(number)
        left -= number * (1 + _TRIAL_STEPS)
        number *= 2
    return numbers


def _best(trials: list[Trial]) -> Trial:
    """Return the fewest slots that no larger number beats by ``_WORTHWHILE``."""
    fastest = max((trial.tokens_per_second for trial in trials), default=0.0)
    near = (t for t in trials if t.tokens_per_second * _WORTHWHILE >= fastest)
    return next(near, Trial(1, 0.0))


def forecast_seconds(trainer: Trainer, module: ParametricRAG, steps: EncodingSteps) -> float | None:
    """Estimate the time of an encoding from a trial of steps sampled across it.

    Args:
        trainer: The Trainer that will run it.
        module: The module, whose bank and optimizer are empty afterwards.
        steps: The encoding.

    Returns:
        Seconds; None for a run that is too short to measure.
    """
    num_steps = len(steps)
    if num_steps < _FEWEST_STEPS:
        return None
    places = [num_steps * (2 * i + 1) // (2 * _NUM_STEPS) for i in range(_NUM_STEPS)]
    num_slots = module.bank.num_slots
    batches = [steps[place] for place in places]
    seconds = _seconds(trainer, module, batches, num_slots)
    module.set_num_slots(num_slots)
    return steps.estimate_num_tokens() * sum(seconds) / sum(batch.num_tokens for batch in batches)


def _tokens_per_second(
    trainer: Trainer, module: ParametricRAG, steps: EncodingSteps, num_slots: int
) -> float:
    # From the middle of the run, where documents have medium length.
    first = max(0, (len(steps) - _TRIAL_STEPS) // 2)
    batches = [steps[i] for i in range(first, min(first + _TRIAL_STEPS, len(steps)))]
    seconds = _seconds(trainer, module, batches, num_slots)
    # The machine may be busy with other work, so the fastest step counts.
    return max(b.num_tokens / s for b, s in zip(batches, seconds, strict=True))


def _seconds(
    trainer: Trainer, module: ParametricRAG, batches: Sequence[EncodingBatch], num_slots: int
) -> list[float]:
    """Return the seconds of each step with ``num_slots`` slots, without resetting the bank."""
    module.set_num_slots(num_slots)
    on_device = [batch.to(module.device) for batch in batches]
    seconds = []
    with trainer.precision_plugin.train_step_context():
        # The first step includes one-time allocation and compilation.
        module.try_step(on_device[0])
        for batch in on_device:
            _wait(module.device)
            start = time.perf_counter()
            module.try_step(batch)
            _wait(module.device)
            seconds.append(time.perf_counter() - start)
    return seconds


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
