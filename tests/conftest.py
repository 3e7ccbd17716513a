"""Fixtures that every test may use."""

import os
import signal
import tempfile

import numpy as np
import pytest


def pytest_configure() -> None:
    """Let interrupts through to the programs that tests start: a shell's background jobs ignore them."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with a fixed seed, fresh for each test: same numbers in every run and order."""
    return np.random.default_rng(20_250_101)


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every temporary file is on a disk without room."""
    monkeypatch.setattr(
        tempfile, "TemporaryFile", lambda **_: os.fdopen(os.open("/dev/full", os.O_RDWR), "r+b", 0)
    )
