"""A line on the terminal that counts processed items."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def counted(items: Iterable[T], name: str) -> Iterator[T]:
    """Yield the items, showing their number and the elapsed time on a terminal.

    Args:
        items: The items; their number need not be known.
        name: Name of the items, in the plural.
    """
    from rich.progress import Progress, SpinnerColumn, TimeElapsedColumn

    from prag_lightning.documents.terminal import open_console

    console = open_console(stderr=True)
    columns = SpinnerColumn(), f"{{task.completed:,.0f}} {name}", TimeElapsedColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        yield from progress.track(items, total=None)
