"""Progress messages for operations that take long, in terminals and log files."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_FIRST_AFTER_S = 2.0
_LONGEST_PAUSE_S = 30.0


@contextmanager
def still_running(message: Callable[[], str]) -> Iterator[None]:
    """Print a message if the block takes more than two seconds, and repeat it until it ends.

    Messages come after 2 seconds, 4 more, 8 more and so on, and later every half minute.

    Args:
        message: Returns the text for standard error; called on another thread.
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
