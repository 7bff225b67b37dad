"""How many requests each client has made lately."""

import time
from collections import OrderedDict
from collections.abc import Callable

# A client may save up as many seconds' worth of requests.
_SECONDS = 2.0
_MOST_CLIENTS = 10_000


class RequestRates:
    """Token buckets, one for each client; those seen longest ago are forgotten.

    Args:
        per_second: How many requests a client may make in a second, on average.
        clock: Returns the time in seconds.
    """

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._full = max(1.0, per_second * _SECONDS)
        self._clock = clock
        # What each client has left, and when that was.
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def seconds_to_wait(self, client: str) -> float:
        """Count a request of a client, and return 0 if it may be made, or else when it may."""
        now = self._clock()
        left, then = self._left.pop(client, (self._full, now))
        left = min(self._full, left + (now - then) * self._per_second)
        may = left >= 1.0
        self._left[client] = (left - 1.0 if may else left, now)
        if len(self._left) > _MOST_CLIENTS:
            self._left.popitem(last=False)
        return 0.0 if may else (1.0 - left) / self._per_second
