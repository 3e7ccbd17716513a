"""Second-order pooling: a feature map as the second moments of its channels.

Which channels respond together, at the same bin and step, tells more about the local patterns of a recording
than how strongly each of them responds (bilinear pooling; Lin et al., ICCV 2015). The matrix of moments is
raised to a power below 1, so that a few strong channels do not outweigh all others (Li et al., "Is
Second-order Information Helpful for Large-scale Visual Recognition?", ICCV 2017). Means over all bins and
steps depend little on key and form. High bins may count more than low ones: versions share a melody, while
many unrelated songs share their accompaniment.
"""

import math

import numpy as np
from numpy.typing import NDArray

from mirex._typing import Array

POWER = 0.35
"""Of the matrix, chosen on validation sets (docs/experiments.md)."""
_LEAST = 1e-5
"""Smallest eigenvalue, as a share of the largest: the power would magnify the rounding of those below."""


def bin_weights(bins: int, *, tilt: float) -> NDArray[np.float64]:
    """Weights of a feature map's bins in the means: a line from low to high, of mean 1.

    Parameters
    ----------
    bins : int
        Of the map.
    tilt : float
        0 for equal weights, up to 1 for weights that are proportional to the height.

    Returns
    -------
    float64 [bins]

    Examples
    --------
    >>> bin_weights(4, tilt=0.0).tolist(), bin_weights(4, tilt=1.0).tolist()
    ([1.0, 1.0, 1.0, 1.0], [0.25, 0.75, 1.25, 1.75])
    """
    heights = (2 * np.arange(bins) + 1) / bins - 1
    return 1 + tilt * heights


def dimensions(embedding_size: int) -> int:
    """Dimensions of the vectors of a network.

    Parameters
    ----------
    embedding_size : int
        Of the network, which has a 32nd as many channels there.

    Returns
    -------
    int

    Examples
    --------
    >>> dimensions(2048)
    2080
    """
    channels = embedding_size // 32
    return channels * (channels + 1) // 2


def vectors(moments: NDArray[np.floating]) -> Array:
    """Turn second moments into vectors whose dot product is that of the matrices' powers.

    Parameters
    ----------
    moments : float [windows, channels * channels]
        Row by row, as `mirex.model.network.ResNet50IBN.infer` gives them.

    Returns
    -------
    float32 [windows, channels * (channels + 1) / 2]
        The upper triangle of each power, row by row; what stands beside the diagonal, times the root of 2.

    Examples
    --------
    >>> np.round(vectors(np.array([[1.0, 0.0, 0.0, 4.0]])), 3).tolist()
    [[1.0, 0.0, 1.625]]
    """
    channels = math.isqrt(moments.shape[1])
    matrices = moments.astype(np.float64).reshape(-1, channels, channels)
    values, directions = np.linalg.eigh(matrices)
    values = np.maximum(values, _LEAST * np.abs(values).max(axis=1, keepdims=True))
    powers = (directions * (values**POWER)[:, None]) @ directions.transpose(0, 2, 1)
    rows, columns = np.triu_indices(channels)
    return (powers[:, rows, columns] * np.where(rows == columns, 1.0, math.sqrt(2))).astype(np.float32)
