"""Blocks of documents, each encoded by one worker in one piece."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from prag_lightning.encoding.plan import EncodingTask

# A block is at most this share of a worker's part of what is left, so that all workers end at about
# the same time.
_SHARE = 1 / 2
_MOST = 256
# Smaller blocks would leave slots empty.
_FEWEST = 8


class Block(NamedTuple):
    """Documents that one worker encodes.

    Args:
        tasks: The documents.
        num_deaths: How often a worker died over them.
    """

    tasks: Sequence[EncodingTask]
    num_deaths: int = 0


def make_blocks(tasks: Sequence[EncodingTask], num_workers: int) -> Iterator[Block]:
    """Yield all documents in blocks, which get smaller towards the end.

    Without documents there is one empty block, with which a worker checks the settings.

    Args:
        tasks: The documents.
        num_workers: Number of workers.
    """
    if not tasks:
        yield Block([])
    start = 0
    while start < len(tasks):
        each = -(-(len(tasks) - start) // num_workers)
        size = min(_MOST, max(int(_SHARE * each), min(_FEWEST, each)))
        yield Block(tasks[start : start + size])
        start += size


def after_death(block: Block) -> list[Block]:
    """Return the blocks to encode in place of one over which a worker died.

    The first time it is the same block, for the machine may have been to blame. Then it is one
    block for each document, which shows over which document workers die. A document over which
    two more have died is given up.
    """
    again = block._replace(num_deaths=block.num_deaths + 1)
    if again.num_deaths < 2:
        return [again]
    return [Block([task]) for task in block.tasks] if len(block.tasks) > 1 else []
