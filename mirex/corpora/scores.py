"""Scores: works in human-made versions, as notes, chords and beats, read from `scores.npz`.

`FORMATS.md` beside this file describes the archive; times are seconds from the start of the song.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mirex.corpora.archive import SPLITS, VersionArchive, joined_names, offsets_of

TICK = np.float64(0.02)
DURATION_TICK = np.float64(0.04)
LONGEST = 180.0  # seconds of a song that are kept
VELOCITY_STEP = 16


class Score(NamedTuple):
    """One song.

    Attributes
    ----------
    onset, duration : float64 [notes]
        Seconds.
    pitch, velocity : int64 [notes]
        MIDI.
    part : int64 [notes]
        Index into program and melody.
    program : int64 [parts]
        General MIDI.
    melody : bool [parts]
        Whether the part is a melody.
    chord_time : float64 [chords]
        Where each chord begins, in seconds.
    chord : int64 [chords]
        0-11 major on C..B, 12-23 minor.
    beat : float64 [beats]
        Seconds.
    """

    onset: NDArray[np.float64]
    duration: NDArray[np.float64]
    pitch: NDArray[np.int64]
    velocity: NDArray[np.int64]
    part: NDArray[np.int64]
    program: NDArray[np.int64]
    melody: NDArray[np.bool_]
    chord_time: NDArray[np.float64]
    chord: NDArray[np.int64]
    beat: NDArray[np.float64]


class ScoreCorpus(VersionArchive):
    """The songs of one split, grouped by work."""

    kind = "a scores archive"
    version = "song"

    def __init__(self, arrays: dict[str, NDArray], *, split: str) -> None:
        super().__init__(arrays, split=split)
        self._arrays = arrays
        self._part_offset = arrays["song_part_offset"].astype(np.int64)
        note_offset = np.concatenate([[0], np.cumsum(arrays["part_length"], dtype=np.int64)])
        self._part_note_offset = note_offset

    def score(self, song: int) -> Score:
        """Read a song.

        Parameters
        ----------
        song : int
            Its index in the archive.

        Returns
        -------
        Score
        """
        a = self._arrays
        first_part, last_part = self._part_offset[song], self._part_offset[song + 1]
        begin, end = self._part_note_offset[first_part], self._part_note_offset[last_part]
        lengths = a["part_length"][first_part:last_part].astype(np.int64)
        chords = slice(*a["song_chord_offset"][song : song + 2])
        beats = slice(*a["song_beat_offset"][song : song + 2])
        return Score(
            onset=_onsets(a["note_onset_delta"][begin:end], lengths) * TICK,
            duration=a["note_duration"][begin:end] * DURATION_TICK,
            pitch=a["note_pitch"][begin:end].astype(np.int64),
            velocity=a["note_velocity"][begin:end].astype(np.int64) * VELOCITY_STEP + VELOCITY_STEP // 2,
            part=np.repeat(np.arange(len(lengths)), lengths),
            program=a["part_program"][first_part:last_part].astype(np.int64),
            melody=a["part_is_melody"][first_part:last_part].astype(bool),
            chord_time=np.cumsum(a["chord_time_delta"][chords], dtype=np.int64) * TICK,
            chord=a["chord"][chords].astype(np.int64),
            beat=np.cumsum(a["beat_time_delta"][beats], dtype=np.int64) * TICK,
        )


def _onsets(delta: NDArray, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Running sums that restart with every part."""
    running = np.cumsum(delta, dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    before = np.where(starts > 0, running[np.maximum(starts, 1) - 1], 0)
    return running - np.repeat(before, lengths)


def score_arrays(
    scores: Sequence[Score], *, works: Sequence[int], splits: Sequence[str], names: Sequence[str]
) -> dict[str, NDArray]:
    """Make the arrays of an archive of scores.

    Parameters
    ----------
    scores : sequence of Score
        Notes ordered by part, and by onset within it.
    works : sequence of int
        Equal numbers are versions of one work.
    splits : sequence of {"train", "validation"}
        Of each song.
    names : sequence of str
        Source and title; a line break in one becomes a blank.

    Returns
    -------
    dict of str to array
        For `mirex.corpora.archive.save_archive`.
    """
    lengths = [np.bincount(score.part, minlength=len(score.program)) for score in scores]
    onsets = [
        _deltas(score.onset, np.cumsum(found)[:-1]) for score, found in zip(scores, lengths, strict=True)
    ]
    return {
        "song_work": np.array(works, np.uint32),
        "song_split": np.array([SPLITS[split] for split in splits], np.uint8),
        "song_name": joined_names(names),
        "song_part_offset": offsets_of([len(score.program) for score in scores]),
        "part_program": _joined([score.program for score in scores], np.uint8),
        "part_is_melody": _joined([score.melody for score in scores], np.uint8),
        "part_length": _joined(lengths, np.uint32),
        "note_onset_delta": _joined(onsets, np.uint16),
        "note_duration": _joined(
            [np.clip(np.round(score.duration / DURATION_TICK), 1, 255) for score in scores], np.uint8
        ),
        "note_pitch": _joined([score.pitch for score in scores], np.uint8),
        "note_velocity": _joined([score.velocity // VELOCITY_STEP for score in scores], np.uint8),
        "song_chord_offset": offsets_of([len(score.chord) for score in scores]),
        "chord": _joined([score.chord for score in scores], np.uint8),
        "chord_time_delta": _joined([_deltas(score.chord_time) for score in scores], np.uint16),
        "song_beat_offset": offsets_of([len(score.beat) for score in scores]),
        "beat_time_delta": _joined([_deltas(score.beat) for score in scores], np.uint16),
    }


def _deltas(seconds: NDArray[np.float64], starts: Sequence[int] | NDArray = ()) -> NDArray[np.int64]:
    """Ticks since the previous one; for the first, and those at `starts`, since the song's beginning."""
    ticks = np.round(seconds / TICK).astype(np.int64)
    deltas = np.diff(ticks, prepend=0)
    first = [start for start in np.asarray(starts, np.int64).tolist() if start < len(ticks)]
    deltas[first] = ticks[first]
    return deltas


def _joined(arrays: Sequence[NDArray], dtype: type) -> NDArray:
    return np.concatenate([np.zeros(0, np.int64), *arrays]).astype(dtype)
