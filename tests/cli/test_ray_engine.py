"""Ending of runs with the engine ray."""

import signal

import pytest
from lightning.pytorch.utilities.exceptions import SIGTERMException

from prag_lightning.cli.ray_engine import ending_at_sigterm


def wait(is_replaced: bool) -> None:
    """Get SIGTERM as Ray does where it waits for workers, or as Python does."""
    try:
        signal.raise_signal(signal.SIGTERM)
    except SystemExit:
        if is_replaced:
            raise SystemExit("") from None
        raise


@pytest.mark.parametrize("is_replaced", [False, True], ids=["as raised", "replaced by Ray"])
def test_sigterm_is_told_from_other_ends_whatever_ray_makes_of_it(is_replaced: bool) -> None:
    handler = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SIGTERMException), ending_at_sigterm():
            wait(is_replaced)
        with pytest.raises(SystemExit) as end, ending_at_sigterm():
            raise SystemExit(3)
        assert end.value.code == 3
    finally:
        signal.signal(signal.SIGTERM, handler)
