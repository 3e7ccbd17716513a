"""Playing: a recording higher or lower, faster or slower, in what the network is given of it.

A recording is played to the network twice, the second time a little lower and slower, as a record that turns
too slowly; its embedding is the mean of both (test-time augmentation). The music is in both outputs, while
what the network gets wrong is partly different, and weighs half.
"""

import numpy as np

from mirex._typing import Array
from mirex.settings import NetworkSettings


def playings(view: Array, *, folded: bool, settings: NetworkSettings) -> list[Array]:
    """The view as it is and, unless the settings want none, its second playing.

    Parameters
    ----------
    view : float32 [bins, steps]
    folded : bool
        Whether it is the chroma view, whose lowest class is moved to the top, where the CQT view's is lost
        and silence comes in.
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
