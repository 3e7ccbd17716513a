"""Recordings as CQT levels: read from `recordings.npz`, written for `mirex corpus recordings`.

`FORMATS.md` beside this file describes the archive. A level counts steps of a fixed number of decibels from
the bottom of the recording's range; 0 is silence. Rounding to steps makes neighbouring bins tie, and a tie
hides a peak. So dither replaces the rounded digits: uniform within the step, with new draws for each crop.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mirex._typing import Array
from mirex.corpora.archive import SPLITS, VersionArchive, joined_names, offsets_of
from mirex.settings import BINS

LOUD_COLUMN = 99  # percentile of the columns' loudest bins that defines a recording's top
SILENCE_DB = -180.0


class LevelScale(NamedTuple):
    """Scale of the levels.

    Attributes
    ----------
    step : float
        Decibels from one level to the next.
    range : float
        Decibels from level 0 up to the recording's top.
    """

    step: float
    range: float


SCALES = {"train": LevelScale(1.5, 60.0), "validation": LevelScale(0.5, 100.0)}


class LevelCorpus(VersionArchive):
    """The recordings of one split, grouped by work.

    Attributes
    ----------
    works : list of int64 [recordings of the work]
        Indices of recordings. A recording without other versions is a work too.
    scale : LevelScale
        Of the split's levels.
    names : list of str
        "artist - title" of every recording of the archive, by index; either may be empty.
    """

    kind = "an archive of recordings as CQT levels"
    version = "recording"

    def __init__(self, arrays: dict[str, NDArray], *, split: str) -> None:
        super().__init__(arrays, split=split)
        self.scale = SCALES[split]
        self._levels = arrays["level"]
        self._offsets = arrays["recording_offset"].astype(np.int64)
        self._tops = arrays["recording_top"].astype(np.float32)
        self._work = arrays["recording_work"].astype(np.int64)
        self._songs = arrays["recording_song"].astype(np.int64)
        self._song_offsets = arrays["recording_song_offset"].astype(np.int64)
        _check(self._levels, self._offsets, self._song_offsets, self._tops, self.names)

    @property
    def recordings(self) -> NDArray[np.int64]:
        """Indices of the split's recordings.

        Returns
        -------
        int64 [recordings]
            In ascending order.
        """
        return np.sort(np.concatenate(self.works)) if self.works else np.zeros(0, np.int64)

    def work(self, recording: int) -> int:
        """Look up a recording's work.

        Parameters
        ----------
        recording : int
            Its index in the archive.

        Returns
        -------
        int
            Its number in the archive; equal numbers are versions of one work.
        """
        return int(self._work[recording])

    def songs(self, recording: int) -> NDArray[np.int64]:
        """List the songs of `scores.npz` that this is a recording of.

        Parameters
        ----------
        recording : int
            Its index in the archive.

        Returns
        -------
        int64 [songs]
            Indices of songs; mostly none.
        """
        first, last = self._song_offsets[recording : recording + 2]
        return self._songs[first:last]

    def top(self, recording: int) -> float:
        """Look up the recording's top: the level of the loudest bin of a loud column.

        Parameters
        ----------
        recording : int
            Its index in the archive.

        Returns
        -------
        float
            Decibels; 0 dB is a tone of amplitude 1.
        """
        return float(self._tops[recording])

    def length(self, recording: int) -> int:
        """Look up the length of the whole recording.

        Parameters
        ----------
        recording : int
            Its index in the archive.

        Returns
        -------
        int
            Columns, of 0.464 s each.
        """
        return int(self._offsets[recording + 1] - self._offsets[recording])

    def columns(
        self,
        recording: int,
        *,
        generator: np.random.Generator | None,
        first: int = 0,
        last: int | None = None,
    ) -> Array:
        """Compute the magnitudes of a part of a recording.

        Parameters
        ----------
        recording : int
            Its index in the archive.
        generator : numpy.random.Generator or None
            Draws the dither for each bin and column. None: levels as stored, with their ties.
        first, last : int
            The part, in columns; by default the whole recording.

        Returns
        -------
        float32 [84, columns]
            Magnitudes as `mirex.features.cqt.columns` gives them; 0 where the level is silence.

        Raises
        ------
        IndexError
            If the part exceeds the recording.
        """
        length = self.length(recording)
        last = length if last is None else last
        if not 0 <= first <= last <= length:
            raise IndexError(f"columns {first} to {last} of recording {recording}, which has {length}")
        begin = self._offsets[recording]
        levels = self._levels[begin + first : begin + last].T
        return magnitudes(levels, top=self.top(recording), scale=self.scale, generator=generator)


def magnitudes(
    levels: NDArray[np.uint8], *, top: float, scale: LevelScale, generator: np.random.Generator | None
) -> Array:
    """Convert levels to magnitudes.

    Parameters
    ----------
    levels : uint8 [84, columns]
        0 is silence.
    top : float
        Of the recording, in decibels.
    scale : LevelScale
        Of the levels.
    generator : numpy.random.Generator or None
        Draws the dither, uniformly from -step / 2 to step / 2. None: no dither.

    Returns
    -------
    float32 [84, columns]
    """
    counted = levels.astype(np.float32)
    if generator is not None:
        counted += generator.random(levels.shape, dtype=np.float32) - np.float32(0.5)
    decibels = counted * np.float32(scale.step) + np.float32(top - scale.range)
    found = np.exp(decibels * np.float32(np.log(10) / 20))
    found[levels == 0] = 0.0
    return np.ascontiguousarray(found)


def levels_of(columns: Array, *, scale: LevelScale) -> tuple[NDArray[np.uint8], float]:
    """Convert magnitudes to levels; `magnitudes` inverts it to within half a step.

    Parameters
    ----------
    columns : float32 [84, columns]
        Magnitudes.
    scale : LevelScale
        Of the levels.

    Returns
    -------
    levels : uint8 [84, columns]
        0, silence, for everything more than the scale's range below the top.
    top : float
        In decibels: the 99th percentile of the columns' loudest bins.
    """
    decibels = 20 * np.log10(np.maximum(columns.astype(np.float64), 10 ** (SILENCE_DB / 20)))
    top = float(np.float32(np.percentile(decibels.max(axis=0), LOUD_COLUMN)))
    levels = np.clip(np.round((decibels - top + scale.range) / scale.step), 0, 255).astype(np.uint8)
    levels[columns <= 0] = 0
    return levels, top


def level_arrays(
    recordings: Sequence[Array],
    *,
    works: Sequence[int],
    splits: Sequence[str],
    names: Sequence[str],
    songs: Sequence[Sequence[int]] | None = None,
) -> dict[str, NDArray]:
    """Make the arrays of an archive of recordings.

    Parameters
    ----------
    recordings : sequence of float32 [84, columns]
        Magnitudes, 0.464 s per column.
    works : sequence of int
        Equal numbers are versions of one work.
    splits : sequence of {"train", "validation"}
        Of each recording.
    names : sequence of str
        "artist - title"; a line break in one becomes a blank.
    songs : sequence of sequences of int, optional
        Songs of `scores.npz`, by index, that each is a recording of; none by default.

    Returns
    -------
    dict of str to array
        For `numpy.savez`.
    """
    pairs = [levels_of(each, scale=SCALES[split]) for each, split in zip(recordings, splits, strict=True)]
    linked = songs if songs is not None else [()] * len(recordings)
    return {
        "level": np.concatenate([levels.T for levels, _ in pairs] or [np.zeros((0, BINS), np.uint8)]),
        "recording_offset": offsets_of([levels.shape[1] for levels, _ in pairs]),
        "recording_top": np.array([top for _, top in pairs], np.float32),
        "recording_work": np.array(works, np.uint32),
        "recording_split": np.array([SPLITS[split] for split in splits], np.uint8),
        "recording_song_offset": offsets_of([len(each) for each in linked]),
        "recording_song": np.array([song for each in linked for song in each], np.uint32),
        "recording_name": joined_names(names),
    }


def _check(
    levels: NDArray, offsets: NDArray, song_offsets: NDArray, tops: NDArray, names: Sequence[str]
) -> None:
    """Raise ValueError if the arrays do not fit together."""
    count = len(tops)
    if levels.ndim != 2 or levels.shape[1] != BINS or levels.dtype != np.uint8:
        raise ValueError(f"levels are {levels.dtype} {levels.shape}, not uint8 [columns, {BINS}]")
    if len(offsets) != count + 1 or len(song_offsets) != count + 1 or len(names) != count:
        raise ValueError(f"{count} tops, {len(offsets) - 1} recordings, {len(names)} names")
    if (np.diff(offsets) < 0).any() or offsets[0] != 0 or offsets[-1] != len(levels):
        raise ValueError(f"the offsets do not divide {len(levels)} columns")
