"""Second moments of the stem, as `mirex.model.network.ResNet50IBN.moments` gives them, in NumPy for the CPU.

A few steps at a time, so that everything stays in the processor's cache. PyTorch and OpenVINO take as long,
and 100 MB more for the feature maps and for what they prepare for each length.
"""

from collections.abc import Iterator

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from mirex._typing import Array
from mirex.model.second_order import bin_weights

_STEPS = 64  # at a time
_REACH = 2  # of the pooling, in bins and steps


def stem_moments(
    window: Array, *, kernel: NDArray[np.floating], bias: NDArray[np.floating], tilt: float
) -> Array:
    """Compute the second moments of one window.

    Parameters
    ----------
    window : float32 [bins, steps]
        Normalised by `mirex.features.views`.
    kernel : float32 [channels, 1, 7, 7]
        Of the stem's convolution, times the scale of its norm.
    bias : float32 [channels]
        Of the stem's norm.
    tilt : float
        Of the bins' weights (`mirex.model.second_order.bin_weights`).

    Returns
    -------
    float32 [channels * channels]
        Row by row.
    """
    flat = np.ascontiguousarray(kernel.reshape(len(kernel), -1).T)
    products = np.zeros((len(window), len(kernel), len(kernel)), np.float32)
    for responses in _responses(window, flat, kernel.shape[2:], bias):
        pooled = _pooled(_pooled(responses, axis=1), axis=0)
        products += np.matmul(pooled.transpose(0, 2, 1), pooled)
    # Float64 between bins, as in `mirex.model.network.summed_products`.
    weights = bin_weights(len(window), tilt=tilt)
    total = (weights[:, None, None] * products).sum(axis=0)
    moments: Array = (total / window.size).astype(np.float32)
    return moments.ravel()


def _responses(
    window: Array, flat: Array, shape: tuple[int, ...], bias: NDArray[np.floating]
) -> Iterator[Array]:
    """Convolution, norm and ReLU at every bin and step, [bins, steps, channels]; zeros beyond the window."""
    bins, steps = window.shape
    height, width = shape
    padded = np.pad(window, ((height // 2,) * 2, (width // 2 + _REACH,) * 2))
    for start in range(0, steps, _STEPS):
        count = min(_STEPS, steps - start) + 2 * _REACH
        patches = sliding_window_view(padded[:, start : start + count + width - 1], shape)
        found = patches.reshape(bins * count, -1) @ flat
        found += bias
        result = np.zeros((bins + 2 * _REACH, count, len(bias)), np.float32)
        inside = slice(max(0, _REACH - start), min(count, steps - start + _REACH))
        np.maximum(found.reshape(bins, count, -1)[:, inside], 0, out=result[_REACH:-_REACH, inside])
        yield result


def _pooled(x: Array, *, axis: int) -> Array:
    """Maxima of three, two apart."""
    first, middle, last = (
        np.moveaxis(x, axis, 0)[start : x.shape[axis] - 2 * _REACH + start]
        for start in (0, _REACH, 2 * _REACH)
    )
    largest = np.maximum(first, middle)
    np.maximum(largest, last, out=largest)
    return np.moveaxis(largest, 0, axis)
