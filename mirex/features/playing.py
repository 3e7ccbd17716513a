"""Playing: a recording higher or lower, faster or slower, by changing the network's input.

A recording can be played to the network twice, the second time a little lower and slower, like a record that
turns too slowly; its embedding is then the mean of both (test-time augmentation). Both outputs contain the
music, while the network's errors partly differ and average out. The settings of the weights decide.
"""

import numpy as np

from mirex._typing import Array
from mirex.settings import NetworkSettings


def playings(view: Array, *, folded: bool, settings: NetworkSettings) -> list[Array]:
    """Give the view as it is and, unless the settings turn it off, its second playing.

    Parameters
    ----------
    view : float32 [bins, steps]
        Network input.
    folded : bool
        Whether it is the chroma view, whose lowest class moves to the top; the lowest bin of the CQT view
        is lost, and silence moved in.
    settings : NetworkSettings
        `second_longer` and `second_lower` describe the second playing.

    Returns
    -------
    list of float32 [bins, steps]
        One view, or two of different lengths.
    """
    if settings.second_longer == 0:
        return [view]
    lower = settings.second_lower
    moved = np.roll(view, -lower, axis=0) if folded else transpose(view, semitones=-lower)
    return [view, stretch(moved, length=round(view.shape[1] * settings.second_longer))]


def transpose(columns: Array, *, semitones: int) -> Array:
    """Shift by whole bins, filling with silence.

    Parameters
    ----------
    columns : float32 [bins, columns]
        Magnitudes, or a view.
    semitones : int
        Bins by which to shift up; down if negative.

    Returns
    -------
    float32 [bins, columns]
        Of the same shape.
    """
    result = np.zeros_like(columns)
    if semitones >= 0:
        result[semitones:] = columns[: len(columns) - semitones]
    else:
        result[:semitones] = columns[-semitones:]
    return result


def stretch(columns: Array, *, length: int) -> Array:
    """Resample along time by linear interpolation.

    Parameters
    ----------
    columns : float32 [bins, columns]
        Magnitudes, or a view.
    length : int
        Columns of the result.

    Returns
    -------
    float32 [bins, length]
    """
    source = np.linspace(0, columns.shape[1] - 1, length)
    low = np.floor(source).astype(np.int64).clip(0, max(columns.shape[1] - 2, 0))
    high = np.minimum(low + 1, columns.shape[1] - 1)
    part = (source - low).astype(np.float32)
    return columns[:, low] * (1 - part) + columns[:, high] * part
