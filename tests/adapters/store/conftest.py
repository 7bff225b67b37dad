"""Fixtures of the tests of the store."""

import os

import pytest


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for the real disk where deaths and power cuts are simulated."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
