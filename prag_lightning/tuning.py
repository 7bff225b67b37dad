"""How many slots are the fastest on this machine: a short trial of each number."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import torch

from prag_lightning.data.encoding import EncodingSteps

if TYPE_CHECKING:
    from prag_lightning.module import ParametricRAG

_MOST_SLOTS = 64
_NUM_STEPS = 4
# How many times the best number of slots is tried before we stop looking for a better one.
_PATIENCE = 4
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
        trials.append(Trial(num_slots, speed))
        best = _best(trials)
        if num_slots >= best.num_slots * _PATIENCE:
            break
        num_slots *= 2
    best = _best(trials)
    module.set_num_slots(best.num_slots)
    if trials:
        speeds = ", ".join(f"{trial.num_slots}: {trial.tokens_per_second:,.0f}" for trial in trials)
        print(f"num_slots {best.num_slots}, the fastest in tokens a second ({speeds})")


def _best(trials: list[Trial]) -> Trial:
    """Return the fewest slots that no larger number beats by what is worth while."""
    fastest = max((trial.tokens_per_second for trial in trials), default=0.0)
    near = (t for t in trials if t.tokens_per_second * _WORTHWHILE >= fastest)
    return next(near, Trial(1, 0.0))


def _tokens_per_second(module: "ParametricRAG", steps: EncodingSteps, num_slots: int) -> float:
    optimizer = module.set_num_slots(num_slots)
    batches = [steps[i].to(module.device) for i in range(min(_NUM_STEPS, len(steps)))]
    # The first step pays for what is allocated or compiled once.
    module.slots.step(batches[0], optimizer)
    speeds = []
    for batch in batches:
        _wait(module.device)
        start = time.perf_counter()
        module.slots.step(batch, optimizer)
        _wait(module.device)
        speeds.append(batch.num_tokens / (time.perf_counter() - start))
    # The machine may be busy with other things: what it can do is its fastest step.
    return max(speeds)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
