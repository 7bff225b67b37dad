"""How long a busy server asks to be left alone."""

import time
from email.utils import formatdate

import pytest

from prag_lightning.retrieval.retry_after import seconds_of


@pytest.mark.parametrize(("header", "seconds"), [(None, None), ("7", 7.0), ("soon", None)])
def test_seconds_are_taken_as_they_are_and_nonsense_says_nothing(
    header: str | None, seconds: float | None
) -> None:
    assert seconds_of(header) == seconds


def test_a_date_is_as_far_as_it_lies_ahead() -> None:
    assert seconds_of(formatdate(time.time() + 60, usegmt=True)) == pytest.approx(60, abs=2)
    assert seconds_of(formatdate(time.time() - 60, usegmt=True)) == 0
