"""A line on the terminal that counts what went by."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def counted(items: Iterable[T], name: str) -> Iterator[T]:
    """Yield the items, showing on a terminal how many there were and for how long.

    Args:
        items: What goes by; it need not be known how much.
        name: What the items are, in the plural.
    """
    from rich.progress import Progress, SpinnerColumn, TimeElapsedColumn

    from prag_lightning.documents.terminal import open_console

    console = open_console(stderr=True)
    columns = SpinnerColumn(), f"{{task.completed:,.0f}} {name}", TimeElapsedColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        yield from progress.track(items, total=None)
