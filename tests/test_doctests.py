"""The examples in docstrings run as tests."""

import doctest
import importlib

import pytest

MODULES = (
    "retrieval.calibration",
    "retrieval.distance",
    "features.cqt",
    "formats.cliques",
    "evaluation.metrics",
    "evaluation.plots",
    "retrieval.search",
    "evaluation.significance",
    "retrieval.alignment",
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    result = doctest.testmod(importlib.import_module(f"mirex.{name}"))
    assert result.attempted > 0
    assert result.failed == 0
