"""Moments of the stem by NumPy: those of the network, for every length and division into parts."""

import numpy as np
import pytest
import torch

from mirex.model import stem_moments
from mirex.model.network import ResNet50IBN
from mirex.model.second_order import bin_weights
from random_network import random_views


@pytest.fixture(scope="module")
def network() -> ResNet50IBN:
    return random_views(embedding_size=128).cqt


def stem(network: ResNet50IBN) -> dict[str, np.ndarray]:
    convolution, norm = network.stem[0], network.stem[1]
    assert isinstance(convolution, torch.nn.Conv2d)
    assert isinstance(norm, torch.nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    with torch.inference_mode():
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        kernel = convolution.weight * scale.view(-1, 1, 1, 1)
        return {"kernel": kernel.numpy(), "bias": (norm.bias - norm.running_mean * scale).numpy()}


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 63, 64, 65, 66, 67, 129, 226])
@pytest.mark.parametrize(("bins", "tilt"), [(36, 0.0), (84, 0.0), (84, 0.7)])
def test_they_are_the_networks(network, rng, bins, tilt, steps):
    window = rng.random((bins, steps), np.float32)
    with torch.inference_mode():
        expected = network.both(torch.from_numpy(window)[None, None], tilt=tilt)[1][0].numpy()
    found = stem_moments.stem_moments(window, weights=bin_weights(bins, tilt=tilt), **stem(network))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_parts_of_any_length_give_the_same(network, rng, monkeypatch):
    window, weights = rng.random((84, 100), np.float32), bin_weights(84, tilt=0.7)
    expected = stem_moments.stem_moments(window, weights=weights, **stem(network))
    for steps in (1, 3, 7, 1000):
        monkeypatch.setattr(stem_moments, "_STEPS", steps)
        found = stem_moments.stem_moments(window, weights=weights, **stem(network))
        np.testing.assert_allclose(found, expected, rtol=1e-4)
