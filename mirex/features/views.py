"""Views: CQT columns to network input, according to the sealed network settings.

1. Silence at both ends, and long silence inside, is removed: it is not music.
2. Peaks: in each column, bins lower than a neighbour are attenuated. Voices, drums, rooms and old
   records fill the gaps between partials; a network trained on cleaner sound takes that for notes.
3. Columns are averaged into network steps.
4. CQT view: levels are compressed to log(1 + g m / r) / log(1 + g), where r, the clip's reference
   level, is the root mean square of the steps' loudest bins. So a clip's gain does not matter, and
   everything 40 dB below the reference (at g = 100) fades out smoothly.
5. Chroma view: magnitudes of the peaks alone are folded into 12 pitch classes, as harmonic pitch-class
   profiles do (Gomez 2006). Each column is divided by its loudest class, as is each step, and the result is
   stacked over a few octaves. It shows which notes sound, but not in which octave.
"""

import numpy as np
from numpy.typing import NDArray

from mirex._typing import Array
from mirex.settings import BINS, BINS_PER_OCTAVE, NetworkSettings

OCTAVES = BINS // BINS_PER_OCTAVE
SILENCE = 1e-5  # reference level under which a clip counts as silent: -100 dB


def without_silence(columns: Array, *, settings: NetworkSettings) -> Array:
    """Remove silent columns at both ends, and long runs of them inside.

    Parameters
    ----------
    columns : float32 [bins, columns]
        Magnitudes.
    settings : NetworkSettings
        `silence` is the threshold, relative to the root mean square of the columns' loudest bins;
        `longest_rest` is how many silent columns in a row are kept.

    Returns
    -------
    float32 [bins, columns]
        Unchanged if all of it is silent or nothing is.
    """
    loudest = columns.max(axis=0, initial=0.0).astype(np.float64)
    sounding = loudest > settings.silence * np.sqrt(np.mean(loudest**2))
    if sounding.all() or not sounding.any():
        return columns
    kept = sounding.copy()
    first, last = np.flatnonzero(sounding)[[0, -1]]
    edges = np.flatnonzero(np.diff(sounding[first : last + 1])) + first + 1
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        kept[begin:end] = end - begin <= settings.longest_rest
    return np.ascontiguousarray(columns[:, kept])


def windows(view: Array, *, steps: int, hop: int) -> Array:
    """Cut a view into windows; the last one ends where the view ends.

    Parameters
    ----------
    view : float32 [bins, steps]
        Network input.
    steps : int
        Length of a window.
    hop : int
        Steps from the start of one window to the start of the next.

    Returns
    -------
    float32 [windows, bins, steps of a window]
        A single window of the view's own length if the view is shorter.
    """
    length = view.shape[1]
    if length <= steps:
        return np.ascontiguousarray(view[None])
    starts = [*range(0, length - steps, hop), length - steps]
    return np.stack([view[:, start : start + steps] for start in starts])


def sharpen(columns: Array, *, gain: float) -> Array:
    """Attenuate bins that are lower than a neighbour in frequency.

    Parameters
    ----------
    columns : float32 [bins, columns]
        Magnitudes.
    gain : float
        Factor for these bins, in [0, 1]: 1 changes nothing, 0 keeps only the peaks.

    Returns
    -------
    float32 [bins, columns]
    """
    below = columns[1:] < columns[:-1]
    above = columns[:-1] < columns[1:]
    beside = np.zeros(columns.shape, bool)
    beside[1:] |= below
    beside[:-1] |= above
    return np.where(beside, columns * np.float32(gain), columns)


def to_steps(columns: Array, *, settings: NetworkSettings) -> Array:
    """Average columns into network steps.

    Parameters
    ----------
    columns : float32 [rows, columns]
        At least one column.
    settings : NetworkSettings
        `columns_per_step` is how many columns a step has.

    Returns
    -------
    float32 [rows, steps]
        A remainder of fewer columns than a step is dropped, unless it is all there is.
    """
    per_step = settings.columns_per_step
    steps = max(columns.shape[1] // per_step, 1)
    used = columns[:, : steps * per_step]
    return used.reshape(len(columns), steps, -1).mean(axis=2).astype(np.float32)


def cqt_view(columns: Array, *, settings: NetworkSettings) -> Array:
    """Sharpen, average, compress.

    Parameters
    ----------
    columns : float32 [84, columns]
        Magnitudes.
    settings : NetworkSettings
        `beside_peaks`, `columns_per_step` and `level_gain` are used.

    Returns
    -------
    float32 [84, steps]
        From about 0 to 1.
    """
    steps = to_steps(sharpen(columns, gain=settings.beside_peaks), settings=settings)
    loudest = steps.max(axis=0).astype(np.float64)
    reference = max(float(np.sqrt(np.mean(loudest**2))), SILENCE)
    gain = settings.level_gain
    return (np.log1p(steps * np.float32(gain / reference)) / np.float32(np.log1p(gain))).astype(np.float32)


def chroma_view(columns: Array, *, settings: NetworkSettings) -> Array:
    """Fold, average and tile.

    Parameters
    ----------
    columns : float32 [84, columns]
        Magnitudes.
    settings : NetworkSettings
        `columns_per_step` and `chroma_octaves` are used.

    Returns
    -------
    float32 [12 octaves, steps]
        In [0, 1].
    """
    profile = loudest_to_one(to_steps(fold(columns), settings=settings), silence=0.0)
    return tile(profile, octaves=settings.chroma_octaves)


def profile_view(profile: Array, *, settings: NetworkSettings) -> Array:
    """Make the chroma view of a recording of which only the pitch classes are known.

    Parameters
    ----------
    profile : float32 [12, steps]
        In [0, 1]. Row 0 is C; each step's loudest class is 1. At least one step, of `columns_per_step`
        columns.
    settings : NetworkSettings
        `chroma_octaves` is used.

    Returns
    -------
    float32 [12 octaves, steps]
    """
    return tile(profile, octaves=settings.chroma_octaves)


def fold(columns: Array) -> Array:
    """Fold the peaks into a pitch-class profile.

    Parameters
    ----------
    columns : float32 [84, columns]
        Magnitudes.

    Returns
    -------
    float32 [12, columns]
        In [0, 1]. Row 0 is C; each column's loudest class is 1. A column not above SILENCE is all zeros.
    """
    peaks = sharpen(columns, gain=0.0).astype(np.float64)
    return loudest_to_one(peaks.reshape(OCTAVES, BINS_PER_OCTAVE, -1).sum(axis=0), silence=SILENCE)


def at_least(clip: Array, *, steps: int) -> Array:
    """Repeat a clip until it has a minimum length.

    Parameters
    ----------
    clip : float32 [rows, steps of the clip]
        Any view.
    steps : int
        Minimum length of the result.

    Returns
    -------
    float32 [rows, at least steps]
    """
    length = clip.shape[1]
    return np.tile(clip, -(-steps // length))[:, : max(steps, length)]


def tile(chroma: Array, *, octaves: int) -> Array:
    """Stack copies of a profile.

    Parameters
    ----------
    chroma : float32 [12, steps]
        The profile.
    octaves : int
        How many copies.

    Returns
    -------
    float32 [12 octaves, steps]
    """
    return np.tile(chroma, (octaves, 1))


def loudest_to_one(chroma: NDArray[np.floating], *, silence: float) -> Array:
    """Divide each column by its largest value.

    Parameters
    ----------
    chroma : float [classes, columns]
        Not negative.
    silence : float
        Columns whose largest value is not above this become zeros.

    Returns
    -------
    float32 [classes, columns]
    """
    loudest = chroma.max(axis=0)
    silent = loudest <= silence
    return np.where(silent, 0.0, chroma / np.where(silent, 1.0, loudest)).astype(np.float32)
