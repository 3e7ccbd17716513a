"""Trimming: long silence in a signal, at its ends and inside, is removed to the exact sample.

Silent columns never reach the network anyway (`mirex.features.views`). But silence also shifts the grid of
columns over the music after it, by part of a column, and that alone changes an embedding. After trimming, a
recording with inserted silence has the same columns as without.
"""

import numpy as np
from numpy.typing import NDArray

from mirex._typing import Samples
from mirex.settings import FrontEndSettings

SILENCE = 1e-3  # of the loudest block's root mean square: -60 dB
_AT_THE_ENDS, _INSIDE = 1, 5  # columns: silence that is no longer than that stays
_BLOCKS = 256  # looked at together


def trimmed(samples: Samples, *, settings: FrontEndSettings) -> Samples:
    """Remove silence that is longer than a column at both ends, and longer than five columns inside.

    Parameters
    ----------
    samples : float32 [samples]
        Mono.
    settings : FrontEndSettings
        Duration of a column.

    Returns
    -------
    float32 [samples]
        The signal itself if nothing is removed, as for most recordings, or if all of it is silent.

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
    """Root mean square of the loudest block, so that a single click is not loud."""
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
    """Where the silence of blocks first to last (exclusive) begins and ends in the neighbouring blocks.

    Those are not silent; without a neighbour, it begins or ends with the signal.
    """
    start, stop = first * block, min(last * block, len(samples))
    before = np.flatnonzero(np.abs(samples[max(start - block, 0) : start]) > limit)
    behind = np.flatnonzero(np.abs(samples[stop : stop + block]) > limit)
    begin = start - block + int(before[-1]) + 1 if len(before) else 0
    return begin, stop + int(behind[0]) if len(behind) else len(samples)
