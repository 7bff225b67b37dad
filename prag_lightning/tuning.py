"""How many slots are the fastest on this machine: a short trial of each number."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import torch

from prag_lightning.data.encoding import EncodingSteps

if TYPE_CHECKING:
    from prag_lightning.module import ParametricRAG

_MOST_SLOTS = 64
_NUM_STEPS = 3
# A number of slots must win by this much, for more slots take more memory.
_WORTHWHILE = 1.03


class Trial(NamedTuple):
    """How fast a number of slots was."""

    num_slots: int
    tokens_per_second: float


def choose_num_slots(module: "ParametricRAG", make_steps: Callable[[int], EncodingSteps]) -> None:
    """Give the module's bank the fastest of 1, 2, 4, ... slots, and say which that is.

    Args:
        module: A module whose base is on its device; its bank is empty afterwards.
        make_steps: Returns the encoding for a number of slots.
    """
    trials: list[Trial] = []
    num_slots = 1
    while num_slots <= min(_MOST_SLOTS, len(make_steps(1).tasks)):
        try:
            speed = _tokens_per_second(module, make_steps(num_slots), num_slots)
        except torch.OutOfMemoryError:
            break
        if trials and speed < _WORTHWHILE * trials[-1].tokens_per_second:
            break
        trials.append(Trial(num_slots, speed))
        num_slots *= 2
    best = max(trials, key=lambda trial: trial.tokens_per_second, default=Trial(1, 0.0))
    module.set_num_slots(best.num_slots)
    if trials:
        speeds = ", ".join(f"{trial.num_slots}: {trial.tokens_per_second:,.0f}" for trial in trials)
        print(f"num_slots {best.num_slots}, the fastest in tokens a second ({speeds})")


def _tokens_per_second(module: "ParametricRAG", steps: EncodingSteps, num_slots: int) -> float:
    optimizer = module.set_num_slots(num_slots)
    batches = [steps[i].to(module.device) for i in range(min(_NUM_STEPS, len(steps)))]
    # The first step pays for what is allocated or compiled once.
    module.slots.step(batches[0], optimizer)
    _wait(module.device)
    start = time.perf_counter()
    for batch in batches:
        module.slots.step(batch, optimizer)
    _wait(module.device)
    return sum(batch.num_tokens for batch in batches) / (time.perf_counter() - start)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
