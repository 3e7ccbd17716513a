"""Second-order vectors: powers of second moments, and what rounding may do to them."""

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st

from mirex.model.second_order import POWER, bin_weights, dimensions, vectors

CHANNELS = 6


def moments(rng, *, rank: int = CHANNELS) -> np.ndarray:
    channels = rng.random((CHANNELS, rank))
    return channels @ channels.T


def matrix_of(vector: np.ndarray) -> np.ndarray:
    matrix = np.zeros((CHANNELS, CHANNELS))
    matrix[np.triu_indices(CHANNELS)] = vector
    beside = np.triu(matrix, 1) / np.sqrt(2)
    return np.diag(np.diag(matrix)) + beside + beside.T


@given(st.integers(0, 2**32 - 1))
def test_the_vector_is_the_power_of_the_matrix(seed):
    matrix = moments(np.random.default_rng(seed)) + 0.1 * np.eye(CHANNELS)
    expected = scipy.linalg.fractional_matrix_power(matrix, POWER)
    np.testing.assert_allclose(matrix_of(vectors(matrix.reshape(1, -1))[0]), expected, atol=1e-5)


def test_the_dot_product_is_that_of_the_matrices(rng):
    one, other = vectors(np.stack([moments(rng), moments(rng)]).reshape(2, -1))
    assert one @ other == pytest.approx(np.sum(matrix_of(one) * matrix_of(other)), rel=1e-6)


def test_a_key_that_moves_all_responses_alike_changes_nothing(rng):
    """The order of bins and steps is not seen."""
    channels = rng.random((CHANNELS, 50))
    moved = channels[:, rng.permutation(50)]
    found = vectors(np.stack([(each @ each.T).ravel() for each in (channels, moved)]))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-6)


def test_rounding_of_the_smallest_eigenvalues_is_not_magnified(rng):
    """A matrix of rank 1 has eigenvalues that only rounding tells from zero, some below it."""
    exact = moments(rng, rank=1)
    noise = rng.normal(scale=1e-7, size=exact.shape)
    found = vectors(np.stack([exact.ravel(), (exact + noise + noise.T).ravel()]))
    assert np.isfinite(found).all()
    assert np.abs(found[0] - found[1]).max() < 1e-5 * np.linalg.norm(found[0])


@given(st.integers(1, 100), st.floats(0, 1))
def test_high_bins_count_more_but_all_together_as_many_as_without(bins, tilt):
    weights = bin_weights(bins, tilt=tilt)
    assert weights.mean() == pytest.approx(1)
    assert weights.min() >= 0
    np.testing.assert_allclose(np.diff(weights), 2 * tilt / bins, atol=1e-12)


def test_silence_gives_zeros():
    assert not vectors(np.zeros((1, CHANNELS**2))).any()


def test_rows_do_not_depend_on_each_other(rng):
    matrices = rng.random((5, CHANNELS, CHANNELS))
    together = (matrices @ matrices.transpose(0, 2, 1)).reshape(5, -1).astype(np.float32)
    assert vectors(together).shape == (5, dimensions(32 * CHANNELS))
    for row, found in zip(together, vectors(together), strict=True):
        assert vectors(row[None])[0].tobytes() == found.tobytes()
