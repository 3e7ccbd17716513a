"""Moments of the stem by NumPy: those of the network, for every length and division into parts."""

import numpy as np
import pytest
import torch

from mirex.model import stem_moments
from mirex.model.network import ResNet50IBN
from random_network import random_views


@pytest.fixture(scope="module")
def network() -> ResNet50IBN:
    return random_views(embedding_size=128).cqt


def stem(network: ResNet50IBN) -> dict[str, np.ndarray]:
    with torch.inference_mode():
        return network._folded_stem()


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 63, 64, 65, 66, 67, 129, 226])
@pytest.mark.parametrize(("bins", "tilt"), [(36, 0.0), (84, 0.0), (84, 0.7)])
def test_they_are_the_networks(network, rng, bins, tilt, steps):
    window = rng.random((bins, steps), np.float32)
    with torch.inference_mode():
        expected = network.moments(torch.from_numpy(window)[None, None], tilt=tilt)[0].numpy()
    found = stem_moments.stem_moments(window, tilt=tilt, **stem(network))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_parts_of_any_length_give_the_same(network, rng, monkeypatch):
    window = rng.random((84, 100), np.float32)
    expected = stem_moments.stem_moments(window, tilt=0.7, **stem(network))
    for steps in (1, 3, 7, 1000):
        monkeypatch.setattr(stem_moments, "_STEPS", steps)
        found = stem_moments.stem_moments(window, tilt=0.7, **stem(network))
        np.testing.assert_allclose(found, expected, rtol=1e-4)
