"""Padded windows: each row of a batch is what the plain pass gives for its window alone."""

import itertools

import numpy as np
import pytest
import torch

from mirex.model import padded, second_order
from mirex.model.network import ResNet50IBN, TwoViewNetwork, full_precision
from mirex.model.whitening import unit
from random_network import random_views

LENGTHS = (80, 81, 95, 97, 113, 226)  # each of the halvings meets odd and even ones
TILT = 0.7


@pytest.fixture(scope="module")
def views() -> TwoViewNetwork:
    return random_views()


@pytest.fixture(scope="module")
def narrow() -> ResNet50IBN:
    return random_views(embedding_size=64).cqt


def plain(network: ResNet50IBN, window: np.ndarray) -> np.ndarray:
    """The network's own pass on one window: last and second-order vector, each of unit length."""
    return units(network.infer(window[None]), network.infer_moments(window[None], tilt=TILT))[0]


def units(last: np.ndarray, moments: np.ndarray) -> np.ndarray:
    return np.concatenate([unit(last), unit(second_order.vectors(moments))], axis=1)


def together(network: ResNet50IBN, windows: list[np.ndarray], *, rows: int, steps: int) -> np.ndarray:
    """The padded passes: the same of each window."""
    found = []
    for block, valid in padded.blocks(windows, rows=rows, steps=steps):
        x, lengths = block.to(network.device), valid.to(network.device)
        with torch.inference_mode(), full_precision():
            last = padded.embedding(network, x, lengths=lengths)
            moments = padded.moments(network, x, lengths=lengths, tilt=TILT)
        found.append(units(last.cpu().numpy(), moments.cpu().numpy()))
    return np.concatenate(found)[: len(windows)]


def drawn(rng, *, bins: int = 84, lengths: tuple[int, ...] = LENGTHS) -> list[np.ndarray]:
    return [rng.random((bins, length), np.float32) for length in lengths]


@pytest.mark.parametrize(("view", "bins"), [("cqt", 84), ("chroma", 36)])
def test_padded_is_plain(views, rng, view, bins):
    network, windows = getattr(views, view), drawn(rng, bins=bins)
    found = together(network, windows, rows=4, steps=256)
    expected = [plain(network, window) for window in windows]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("length", [1, 2, 3, 5, 226])
def test_windows_of_any_length(views, rng, length):
    windows = drawn(rng, lengths=(length,))
    found = together(views.cqt, windows, rows=1, steps=padded.padded_length(length))
    np.testing.assert_allclose(found[0], plain(views.cqt, windows[0]), rtol=0, atol=1e-5)


MASKS = 1 + 13 * 2 + 16 + 1 + 2
"""Before the stem's pooling; mean and variance of each IBN; before each 3x3 convolution; GeM; and for the
moments, before and after the stem's pooling."""


@pytest.mark.parametrize("left_out", range(MASKS))
def test_every_mask_is_needed(narrow, rng, monkeypatch, left_out):
    """Without any one of them the vectors are others. Odd lengths need the stem's, even ones the next."""
    windows, order, masked = drawn(rng, lengths=(81, 95)), itertools.count(), padded._masked
    expected = together(narrow, windows, rows=2, steps=128)
    monkeypatch.setattr(
        padded, "_masked", lambda x, lengths: x if next(order) == left_out else masked(x, lengths)
    )
    found = together(narrow, windows, rows=2, steps=128)
    assert next(order) == MASKS
    assert np.abs(found - expected).max() > 1e-4


def test_a_rows_bytes_do_not_depend_on_its_neighbours(narrow, rng):
    windows = drawn(rng)
    found = together(narrow, windows, rows=4, steps=256)
    assert together(narrow, windows[::-1], rows=4, steps=256)[::-1].tobytes() == found.tobytes()
    for row, window in enumerate(windows):
        assert together(narrow, [window], rows=4, steps=256)[0].tobytes() == found[row].tobytes()


def test_batches_have_one_shape(rng):
    windows = drawn(rng, lengths=(5, 32, 17))
    batches = list(padded.blocks(windows, rows=2, steps=32))
    assert [tuple(x.shape) for x, _ in batches] == [(2, 1, 84, 32)] * 2
    assert [lengths.tolist() for _, lengths in batches] == [[5, 32], [17, 32]]
    np.testing.assert_array_equal(batches[0][0][0, 0, :, :5], windows[0])
    assert not batches[0][0][0, 0, :, 5:].any()
    assert not batches[1][0][1].any()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_agrees_with_the_cpu(rng):
    windows = drawn(rng)
    expected = [plain(random_views().cqt, window) for window in windows]
    found = together(random_views().cqt.cuda(), windows, rows=len(windows), steps=256)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
