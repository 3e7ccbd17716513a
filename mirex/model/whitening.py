"""Whitening: the directions in which the vectors of unrelated recordings vary most are attenuated.

Songs on the same four chords, or of one genre, share such directions: without whitening they look alike. Mean
and covariance are those of the windows of many recordings, without labels. The covariance is shrunk
towards a multiple of the identity (Ledoit and Wolf 2004) and raised to a power between -0.5, which makes all
directions equal, and 0, which changes nothing (Jegou and Chum, ECCV 2012).
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mirex._typing import Array
from mirex.errors import TrainingError

POWER = -0.35
SHRINKAGE = 0.02
_TOGETHER = 128  # vectors multiplied at a time


class Whitening(NamedTuple):
    """An affine map of the network's unit-length vectors.

    Attributes
    ----------
    mean : float32 [dimensions]
    projection : float32 [dimensions, kept]
        Vectors are rows, multiplied from the left. Symmetric if all dimensions are kept; otherwise its
        columns are the directions in which whitened vectors vary most.
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
        float32 [vectors, kept]
            Of unit length.
        """
        return unit((vectors.astype(np.float32) - self.mean) @ self.projection)


class Moments:
    """Count, sum and sum of products of vectors, which come block by block and need not fit into memory."""

    def __init__(self) -> None:
        self.count = 0
        self._total, self._products = np.zeros(()), np.zeros(())
        self._waiting: list[NDArray[np.float64]] = []

    def add(self, vectors: NDArray[np.floating]) -> None:
        """Take a block in.

        Parameters
        ----------
        vectors : float [vectors, dimensions]
            Of unit length.
        """
        self.count += len(vectors)
        self._waiting.append(vectors.astype(np.float64))
        # For single vectors, adding their products to the sum would take most of the time.
        if sum(map(len, self._waiting)) >= _TOGETHER:
            self._take_in()

    def _take_in(self) -> None:
        if self._waiting:
            wide = np.concatenate(self._waiting)
            self._total = self._total + wide.sum(axis=0)
            self._products = self._products + wide.T @ wide
            self._waiting = []

    def whitening(
        self, *, power: float = POWER, shrinkage: float = SHRINKAGE, kept: int | None = None
    ) -> Whitening:
        """Fit a whitening.

        Parameters
        ----------
        power : float
            Of the covariance, from -0.5 to 0.
        shrinkage : float
            Share of the identity in the covariance, above 0 and at most 1.
        kept : int, optional
            Dimensions of the whitened vectors; all by default.

        Returns
        -------
        Whitening

        Raises
        ------
        TrainingError
            For fewer than two vectors, or a power or a shrinkage out of range.
        """
        check(power=power, shrinkage=shrinkage)
        if self.count < 2:
            raise TrainingError(
                f"whitening needs at least two vectors, {self.count} found; give more recordings"
            )
        self._take_in()
        mean = self._total / self.count
        covariance = self._products / self.count - np.outer(mean, mean)
        size = len(mean)
        covariance = (1 - shrinkage) * covariance + shrinkage * np.trace(covariance) / size * np.eye(size)
        values, directions = np.linalg.eigh(covariance)
        scaled = np.maximum(values, np.finfo(np.float32).tiny) ** power
        projection = directions * (scaled / scaled.min())
        projection = projection @ directions.T if kept is None else projection[:, ::-1][:, :kept]
        return Whitening(mean.astype(np.float32), projection.astype(np.float32))


def fit(vectors: Iterable[Array], **options: Any) -> Whitening:
    """Fit a whitening to vectors.

    Parameters
    ----------
    vectors : iterable of float [vectors, dimensions]
        Of unit length; read once.
    **options
        See `Moments.whitening`.

    Returns
    -------
    Whitening

    Raises
    ------
    TrainingError
        As `Moments.whitening`.
    """
    moments = Moments()
    for block in vectors:
        moments.add(block)
    return moments.whitening(**options)


def check(*, power: float, shrinkage: float) -> None:
    """Refuse numbers out of range, before hours of work.

    Parameters
    ----------
    power, shrinkage : float
        See `Moments.whitening`.

    Raises
    ------
    TrainingError
        If one is out of range.
    """
    if not -0.5 <= power <= 0 or not 0 < shrinkage <= 1:
        raise TrainingError(
            f"whitening with power {power} and shrinkage {shrinkage}: give a power from -0.5 to 0 and a "
            "shrinkage above 0, at most 1"
        )


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
