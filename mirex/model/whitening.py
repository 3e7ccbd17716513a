"""Whitening: the directions in which the vectors of unrelated recordings vary most are attenuated.

Songs on the same four chords, or of one genre, share such directions: without whitening they look alike. Mean
and covariance are those of the windows of many recordings, without labels. The covariance is shrunk
towards a multiple of the identity (Ledoit and Wolf 2004) and raised to a power between -0.5, which makes all
directions equal, and 0, which changes nothing (Jegou and Chum, ECCV 2012).
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mirex._typing import Array
from mirex.errors import TrainingError

POWER = -0.35
SHRINKAGE = 0.02


class Whitening(NamedTuple):
    """An affine map of the network's unit-length vectors.

    Attributes
    ----------
    mean : float32 [dimensions]
    projection : float32 [dimensions, dimensions]
        Symmetric; vectors are rows, multiplied from the left.
    """

    mean: Array
    projection: Array

    def apply(self, vectors: NDArray[np.floating]) -> Array:
        """Whiten vectors and make them unit length again.

        Parameters
        ----------
        vectors : float [vectors, dimensions]
            Of unit length.

        Returns
        -------
        float32 [vectors, dimensions]
            Of unit length.
        """
        return unit((vectors.astype(np.float32) - self.mean) @ self.projection)


def fit(vectors: Iterable[Array], *, power: float = POWER, shrinkage: float = SHRINKAGE) -> Whitening:
    """Fit a whitening to vectors.

    Parameters
    ----------
    vectors : iterable of float [vectors, dimensions]
        Of unit length; read once, so that they need not fit into memory.
    power : float
        Of the covariance, from -0.5 to 0.
    shrinkage : float
        Share of the identity in the covariance, above 0 and at most 1.

    Returns
    -------
    Whitening

    Raises
    ------
    TrainingError
        For fewer than two vectors, or a power or a shrinkage out of range.
    """
    if not -0.5 <= power <= 0 or not 0 < shrinkage <= 1:
        raise TrainingError(
            f"whitening with power {power} and shrinkage {shrinkage}: give a power from -0.5 to 0 and a "
            "shrinkage above 0, at most 1"
        )
    count, total, products = 0, np.zeros(()), np.zeros(())
    for block in vectors:
        wide = block.astype(np.float64)
        count, total, products = count + len(wide), total + wide.sum(axis=0), products + wide.T @ wide
    if count < 2:
        raise TrainingError(f"whitening needs at least two vectors, {count} found; give more recordings")
    mean = total / count
    covariance = products / count - np.outer(mean, mean)
    size = len(mean)
    covariance = (1 - shrinkage) * covariance + shrinkage * np.trace(covariance) / size * np.eye(size)
    values, directions = np.linalg.eigh(covariance)
    scaled = np.maximum(values, np.finfo(np.float32).tiny) ** power
    projection = (directions * (scaled / scaled.min())) @ directions.T
    return Whitening(mean.astype(np.float32), projection.astype(np.float32))


def unit(vectors: NDArray[np.floating]) -> Array:
    """Normalise rows to unit length.

    Parameters
    ----------
    vectors : float [..., dimensions]
        Any vectors.

    Returns
    -------
    float32 [..., dimensions]
        A row of zeros stays zero.
    """
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=-1, keepdims=True)
    return (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
