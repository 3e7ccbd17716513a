"""Trimming: long silence in a signal, at its ends and inside, is left out to the sample.

Silent columns reach no network anyway (`mirex.features.views`). But silence also moves the grid of columns
over the music behind it, by a part of a column, and that alone changes an embedding. Trimmed, a recording
with silence put in has the columns of the recording without.
"""

import numpy as np
from numpy.typing import NDArray

from mirex._typing import Samples
from mirex.settings import FrontEndSettings

SILENCE = 1e-3  # of the loudest block's root mean square: -60 dB
_AT_THE_ENDS, _INSIDE = 1, 5  # columns: silence that is no longer than that stays
_BLOCKS = 256  # looked at together


def trimmed(samples: Samples, *, settings: FrontEndSettings) -> Samples:
    """Leave out silence at both ends that lasts longer than a column, and inside longer than five.

    Parameters
    ----------
    samples : float32 [samples]
        Mono.
    settings : FrontEndSettings
        Length of a column.

    Returns
    -------
    float32 [samples]
        The signal itself where nothing is left out, so most recordings; and where all of it is silent.

    Examples
    --------
    >>> sound = np.ones(30_000, np.float32)
    >>> silence = np.zeros(100_001, np.float32)
    >>> samples = np.concatenate([silence, sound, silence, sound, silence[:5]])
    >>> len(trimmed(samples, settings=FrontEndSettings()))
    60005
    """
    column = settings.hop * settings.frames_per_column
    limit = SILENCE * _loudest(samples, settings.hop)
    sounding = _sounding(samples, limit, settings.hop)
    if not sounding.any() or sounding.all():
        return samples
    edges = np.flatnonzero(np.diff(sounding, prepend=True, append=True))
    begins, kept = 0, []
    for first, last in edges.reshape(-1, 2).tolist():
        start, stop = _to_the_sample(samples, first, last, limit, settings.hop)
        at_an_end = start == 0 or stop == len(samples)
        if stop - start > (_AT_THE_ENDS if at_an_end else _INSIDE) * column:
            kept.append(samples[begins:start])
            begins = stop
    return np.concatenate([*kept, samples[begins:]]) if kept else samples


def _loudest(samples: Samples, block: int) -> float:
    """Root mean square of the loudest block of so many samples; one click alone is not loud."""
    whole = samples[: len(samples) // block * block].reshape(-1, block)
    powers = np.einsum("ij,ij->i", whole, whole)  # without a copy: an hour is 318 MB
    return float(np.sqrt(powers.max(initial=0.0) / block))


def _sounding(samples: Samples, limit: float, block: int) -> NDArray[np.bool_]:
    """Whether each block, the last of which may be shorter, has a sample above the limit."""
    found = []
    for start in range(0, len(samples), _BLOCKS * block):
        above = np.abs(samples[start : start + _BLOCKS * block]) > limit
        found.append(np.logical_or.reduceat(above, np.arange(0, len(above), block)))
    return np.concatenate(found)


def _to_the_sample(samples: Samples, first: int, last: int, limit: float, block: int) -> tuple[int, int]:
    """Where the silence of blocks first to last (exclusive) begins and ends in the blocks beside them.

    Those sound; where there are none, the signal begins or ends.
    """
    start, stop = first * block, min(last * block, len(samples))
    before = np.flatnonzero(np.abs(samples[max(start - block, 0) : start]) > limit)
    behind = np.flatnonzero(np.abs(samples[stop : stop + block]) > limit)
    begin = start - block + int(before[-1]) + 1 if len(before) else 0
    return begin, stop + int(behind[0]) if len(behind) else len(samples)
