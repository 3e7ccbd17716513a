"""Trimming: long silence in a signal, at its ends and inside, is removed to the exact sample.

Silent columns never reach the network anyway (`mirex.features.views`). But silence also shifts the grid of
columns over the music after it, by part of a column, and that alone changes an embedding. After trimming, a
recording with inserted silence has the same columns as without.
"""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from mirex._typing import Samples
from mirex.settings import FrontEndSettings

SILENCE = 1e-3  # of the loudest block's root mean square: -60 dB
_AT_THE_ENDS, _INSIDE = 1, 5  # columns: silence up to this length is kept
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


def loudness_limit(blocks: Iterable[Samples], *, settings: FrontEndSettings) -> float:
    """Compute the level up to which a signal counts as silent, from its blocks.

    Parameters
    ----------
    blocks : iterable of float32 [samples]
        Mono.
    settings : FrontEndSettings
        Duration of a hop.

    Returns
    -------
    float
        In units of the samples.
    """
    loudest, rest = 0.0, np.empty(0, np.float32)
    for block in blocks:
        waiting = np.concatenate([rest, block])
        loudest = max(loudest, _loudest(waiting, settings.hop))
        rest = waiting[len(waiting) // settings.hop * settings.hop :]
    return SILENCE * loudest


class BlockTrimmer:
    """Does what `trimmed` does for a signal that comes in blocks, and records what it removes.

    Parameters
    ----------
    limit : float
        From `loudness_limit`.
    settings : FrontEndSettings
        Duration of a column.

    Attributes
    ----------
    silences : list of (int, int)
        First sample of each removed silence, and one past its last.

    Examples
    --------
    >>> trimmer = BlockTrimmer(limit=0.001, settings=FrontEndSettings())
    >>> sound, silence = np.ones(30_000, np.float32), np.zeros(60_000, np.float32)
    >>> sum(map(len, trimmer.trimmed([silence, silence, sound, silence, sound])))
    60000
    >>> trimmer.silences
    [(0, 120000), (150000, 210000)]
    """

    def __init__(self, *, limit: float, settings: FrontEndSettings) -> None:
        column = settings.hop * settings.frames_per_column
        self.silences: list[tuple[int, int]] = []
        self._limit = limit
        self._at_the_ends, self._inside = _AT_THE_ENDS * column, _INSIDE * column
        self._last = -1  # sample that sounds
        self._waiting, self._at = np.empty(0, np.float32), 0  # after it, and where that begins

    def trimmed(self, blocks: Iterable[Samples]) -> Iterator[Samples]:
        """Remove silence from the signal.

        Parameters
        ----------
        blocks : iterable of float32 [samples]
            Mono.

        Yields
        ------
        float32 [samples]
        """
        for block in blocks:
            yield from self._add(block)
        end = self._at + len(self._waiting)
        if end - self._last - 1 <= self._at_the_ends:
            yield self._waiting
        elif self._last >= 0:
            self.silences.append((self._last + 1, end))

    def _add(self, block: Samples) -> Iterator[Samples]:
        samples, start = np.concatenate([self._waiting, block]), self._at
        sounding = np.flatnonzero(np.abs(samples) > self._limit) + start
        if len(sounding):
            before = np.concatenate([[self._last], sounding[:-1]])
            longest = np.where(before < 0, self._at_the_ends, self._inside)
            begin = start
            for place in np.flatnonzero(sounding - before - 1 > longest):
                first, stop = int(before[place]) + 1, int(sounding[place])
                self.silences.append((first, stop))
                yield samples[begin - start : max(first, start) - start]
                begin = stop
            self._last = int(sounding[-1])
            yield samples[begin - start : self._last + 1 - start]
            samples, start = samples[self._last + 1 - start :].copy(), self._last + 1
        if start + len(samples) - self._last - 1 > self._inside:  # too long to keep, whatever follows
            samples, start = samples[:0], start + len(samples)
        self._waiting, self._at = samples, start


def with_silence(
    seconds: NDArray[np.floating], silences: NDArray[np.floating], *, ends: bool = False
) -> NDArray[np.float64]:
    """Convert times in a trimmed signal to times in the original signal.

    Parameters
    ----------
    seconds : float [times]
        In the trimmed signal.
    silences : float [silences, 2]
        Start and end of each removed silence, in the original signal.
    ends : bool
        If silence was removed exactly at a time, give the time before it, for the end of something; otherwise
        the time after it, for a beginning.

    Returns
    -------
    float64 [times]

    Examples
    --------
    >>> silences = np.array([[0.0, 5.0], [15.0, 75.0]])
    >>> with_silence(np.array([0.0, 10.0, 12.0]), silences).tolist()
    [5.0, 75.0, 77.0]
    >>> with_silence(np.array([10.0]), silences, ends=True).tolist()
    [15.0]
    """
    lengths = silences[:, 1] - silences[:, 0]
    removed = np.concatenate([[0.0], np.cumsum(lengths)])
    places = silences[:, 0] - removed[:-1]  # in the trimmed signal
    return seconds + removed[np.searchsorted(places, seconds, side="left" if ends else "right")]
