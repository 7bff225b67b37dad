"""Blocks of tasks, such as documents to encode, each done by one worker in one piece."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

TaskT = TypeVar("TaskT")

# A block is at most this share of a worker's part of what is left, so that all workers end at about
# the same time.
_SHARE = 1 / 2
_MOST = 256
# Smaller blocks would leave slots empty.
_FEWEST = 8


@dataclass(frozen=True)
class Block(Generic[TaskT]):
    """Tasks that one worker does.

    Args:
        tasks: The tasks.
        num_deaths: How often a worker died over them.
    """

    tasks: Sequence[TaskT]
    num_deaths: int = 0


def make_blocks(
    tasks: Sequence[TaskT], num_workers: int, most: int = _MOST
) -> Iterator[Block[TaskT]]:
    """Yield all tasks in blocks, which get smaller towards the end.

    Without tasks there is one empty block, with which a worker checks the settings.

    Args:
        tasks: The tasks.
        num_workers: Number of workers.
        most: Number of tasks in a block at most.
    """
    if not tasks:
        yield Block([])
    start = 0
    while start < len(tasks):
        each = -(-(len(tasks) - start) // num_workers)
        size = min(most, max(int(_SHARE * each), min(_FEWEST, each)))
        yield Block(tasks[start : start + size])
        start += size


def after_death(block: Block[TaskT]) -> list[Block[TaskT]]:
    """Return the blocks to do in place of one over which a worker died.

    The first time it is the same block, for the machine may have been to blame. Then it is one
    block for each task, which shows over which task workers die. A task over which two more have
    died is given up.
    """
    again = replace(block, num_deaths=block.num_deaths + 1)
    if again.num_deaths < 2:
        return [again]
    return [Block([task]) for task in block.tasks] if len(block.tasks) > 1 else []
