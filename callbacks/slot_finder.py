"""Short trials: how many slots are the fastest on this machine, and how long a run will take."""

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
# What a run that is too short for trials begins with.
_UNTRIED_SLOTS = 8
# All trials together read at most this share of what the run itself reads.
_MOST_SHARE = 0.02
# Steps of a trial that are measured; another one comes before them.
_TRIAL_STEPS = 2
# Steps of a forecast.
_NUM_STEPS = 4
# How many times the best number of slots is tried before we stop looking for a better one.
_PATIENCE = 4
# A number of slots must win by this much, for more slots take more memory.
_WORTHWHILE = 1.03
# A forecast takes 5 steps; in a shorter run than this they would be more than a fortieth.
_FEWEST_STEPS = 200


class Trial(NamedTuple):
    """How fast a number of slots was."""

    num_slots: int
    tokens_per_second: float


class SlotFinder(Callback):
    """Finds how many documents should train at once, and says how long encoding will take.

    At the start of ``fit`` it tries 1, 2, 4, ... slots where the module's ``num_slots`` is
    ``auto``, as many as a fiftieth of the run allows, and gives module and data module the fastest
    number; any other number it hands to the data module. List it behind `AdapterWriter`, which
    knows what is encoded already.
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
        """Say how long it will take."""
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
        """Return the fastest of 1, 2, 4, ... slots, and say which that is."""
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
    """Return the fewest slots that no larger number beats by what is worth while."""
    fastest = max((trial.tokens_per_second for trial in trials), default=0.0)
    near = (t for t in trials if t.tokens_per_second * _WORTHWHILE >= fastest)
    return next(near, Trial(1, 0.0))


def forecast_seconds(trainer: Trainer, module: ParametricRAG, steps: EncodingSteps) -> float | None:
    """Return how long an encoding will take, by a trial of steps from all over it.

    Args:
        trainer: The Trainer that will run it.
        module: The bank and the optimizer that it begins with; both are empty afterwards.
        steps: The encoding.

    Returns:
        Seconds; None for a short run, which would be over before it is measured.
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
    # From the middle of the run, where documents are neither short nor long.
    first = max(0, (len(steps) - _TRIAL_STEPS) // 2)
    batches = [steps[i] for i in range(first, min(first + _TRIAL_STEPS, len(steps)))]
    seconds = _seconds(trainer, module, batches, num_slots)
    # The machine may be busy with other things: what it can do is its fastest step.
    return max(b.num_tokens / s for b, s in zip(batches, seconds, strict=True))


def _seconds(
    trainer: Trainer, module: ParametricRAG, batches: Sequence[EncodingBatch], num_slots: int
) -> list[float]:
    """Return how long each step takes in a bank of so many slots, which stays as it then is."""
    module.set_num_slots(num_slots)
    on_device = [batch.to(module.device) for batch in batches]
    seconds = []
    with trainer.precision_plugin.train_step_context():
        # The first step pays for what is allocated or compiled once.
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
