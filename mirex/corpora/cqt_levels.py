"""Recordings as CQT levels: read from `recordings.npz`, written for `mirex corpus recordings`.

`FORMATS.md` beside this file describes the archive. A level counts steps of so many decibels from the bottom
of the recording's range; 0 is silence. Rounding to steps makes neighbouring bins tie, and a tie hides a peak:
so what rounding took is put back, uniformly at random within the step, anew for each crop.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mirex._typing import Array
from mirex.corpora.archive import SPLITS, VersionArchive, joined_names, offsets_of
from mirex.settings import BINS

LOUD_COLUMN = 99  # percentile of the columns' loudest bins that a recording's top is
SILENCE_DB = -180.0


class LevelScale(NamedTuple):
    """What a level counts.

    Attributes
    ----------
    step : float
        Decibels from a level to the next.
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
        Indices of recordings. A recording that is the only one of its work is a work, too.
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
        """The number of a recording's work in the archive.

        Parameters
        ----------
        recording : int
            Its index in the archive.

        Returns
        -------
        int
            Equal numbers are versions of one work.
        """
        return int(self._work[recording])

    def songs(self, recording: int) -> NDArray[np.int64]:
        """The songs of `scores.npz` that this is a recording of.

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
        """The recording's top: how loud a loud column's loudest bin is.

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
        """Length of the whole recording.

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
        """Magnitudes of a stretch of a recording.

        Parameters
        ----------
        recording : int
            Its index in the archive.
        generator : numpy.random.Generator or None
            Draws what rounding took, for each bin and column. None: levels as they lie, with their ties.
        first, last : int
            The stretch, in columns; by default all of the recording.

        Returns
        -------
        float32 [84, columns]
            Magnitudes as `mirex.features.cqt.columns` gives them; 0 where the level is silence.

        Raises
        ------
        IndexError
            If the stretch does not lie in the recording.
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
    """Levels to magnitudes.

    Parameters
    ----------
    levels : uint8 [84, columns]
        0 is silence.
    top : float
        Of the recording, in decibels.
    scale : LevelScale
        What the levels count.
    generator : numpy.random.Generator or None
        Draws what rounding took, uniformly from -step / 2 to step / 2. None: nothing is put back.

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
    """Magnitudes to levels; `magnitudes` undoes it to half a step.

    Parameters
    ----------
    columns : float32 [84, columns]
        Magnitudes.
    scale : LevelScale
        What the levels are to count.

    Returns
    -------
    levels : uint8 [84, columns]
        What lies more than the scale's range below the top is silence, 0.
    top : float
        Decibels of a loud column's loudest bin: the 99th percentile of the columns' loudest.
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
    """The arrays of an archive of recordings.

    Parameters
    ----------
    recordings : sequence of float32 [84, columns]
        Magnitudes, 0.464 s a column.
    works : sequence of int
        Equal numbers are versions of one work.
    splits : sequence of {"train", "validation"}
    names : sequence of str
        "artist - title"; a line break in one becomes a blank.
    songs : sequence of sequences of int, optional
        Songs of `scores.npz`, by index, that each is a recording of. None: of none.

    Returns
    -------
    dict of str to array
        What `numpy.savez` is to be given.
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
    """Raise ValueError where the arrays do not fit each other."""
    count = len(tops)
    if levels.ndim != 2 or levels.shape[1] != BINS or levels.dtype != np.uint8:
        raise ValueError(f"levels of shape {levels.shape}, type {levels.dtype}; uint8 [columns, {BINS}]")
    if len(offsets) != count + 1 or len(song_offsets) != count + 1 or len(names) != count:
        raise ValueError(f"{count} tops, {len(offsets) - 1} recordings, {len(names)} names")
    if (np.diff(offsets) < 0).any() or offsets[0] != 0 or offsets[-1] != len(levels):
        raise ValueError(f"offsets that do not share out {len(levels)} columns")
