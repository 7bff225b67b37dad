"""Imports of large libraries without garbage collection, which takes a quarter of their time."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Look for no garbage in what the block imports, neither now nor later.

    What torch, transformers and Lightning define stays until the end, but while it grows, and once
    more at the end, Python looks through all of it: 700,000 objects.
    """
    # In a program that has imported them before, other objects would be kept, too.
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()
