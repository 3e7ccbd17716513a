"""The examples in docstrings run as tests."""

import doctest
import importlib

import pytest

from mirex.model import weights

MODULES = (
    "retrieval.calibration",
    "retrieval.distance",
    "features.cqt",
    "features.short",
    "features.streaming",
    "features.trimming",
    "formats.cliques",
    "evaluation.evaluate",
    "evaluation.metrics",
    "evaluation.plots",
    "retrieval.index",
    "retrieval.index_file",
    "retrieval.path",
    "retrieval.search",
    "retrieval.tracklist",
    "retrieval.windows",
    "commands.compare",
    "evaluation.significance",
    "retrieval.alignment",
)


NEEDS_WEIGHTS = pytest.mark.skipif(
    not weights.default_path().is_file(), reason="weights/mirex.safetensors is not there yet"
)


@pytest.mark.parametrize("name", [*MODULES, pytest.param("model.shipped", marks=NEEDS_WEIGHTS)])
def test_examples(name):
    result = doctest.testmod(importlib.import_module(f"mirex.{name}"))
    assert result.attempted > 0
    assert result.failed == 0
