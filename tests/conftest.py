"""Fixtures that every test may use."""

import numpy as np
import pytest


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with a fixed seed, fresh for each test: same numbers in every run and order."""
    return np.random.default_rng(20_250_101)
