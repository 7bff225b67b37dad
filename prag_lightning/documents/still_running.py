"""Saying what takes so long, in a terminal as in a log file."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_FIRST_AFTER_S = 2.0
_LONGEST_PAUSE_S = 30.0


@contextmanager
def still_running(message: Callable[[], str]) -> Iterator[None]:
    """Print a message if the block takes more than two seconds, and again until it ends.

    It comes after 2 seconds, then after 4 more, 8 more, and so on, later every half minute.

    Args:
        message: Gives what to print, on standard error; it is called on another thread.
    """
    ended = threading.Event()

    def tell() -> None:
        pause = _FIRST_AFTER_S
        while not ended.wait(pause):
            print(message(), file=sys.stderr, flush=True)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
