"""Profiles: recordings as pitch classes over time, read from `hpcp.npz` and `profiles-more.npz`.

`FORMATS.md` beside this file describes the archive. A step is 0.93 s. Row 0 is C here, but A in the archive.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mirex._typing import Array
from mirex.corpora.archive import SPLITS, VersionArchive, joined_names, offsets_of
from mirex.features.views import fold, loudest_to_one

LOUDEST = np.float32(15)
SEMITONES_TO_C = 3
NO_WORK = 0xFFFFFFFF
COLUMNS_PER_STEP = 2
LONGEST_STEPS = 330


class ProfileCorpus(VersionArchive):
    """The recordings of one split, grouped by work."""

    kind = "an archive of profiles"
    version = "recording"

    def __init__(self, arrays: dict[str, NDArray], *, split: str) -> None:
        super().__init__(arrays, split=split)
        self._profiles = np.roll(arrays["hpcp"], -SEMITONES_TO_C, axis=0)
        self._offsets = arrays["recording_offset"].astype(np.int64)
        nothing = np.full(self.count, NO_WORK, np.uint32)
        self._score_work = arrays.get("recording_score_work", nothing)
        self._confirmed = arrays.get("recording_confirmed", np.ones(self.count, np.uint8)).astype(bool)

    def profile(self, recording: int) -> NDArray[np.float32]:
        """Read a whole recording.

        Parameters
        ----------
        recording : int
            Its index in the archive.

        Returns
        -------
        float32 [12, steps]
            In 0..1, row 0 is C.
        """
        first, last = self._offsets[recording : recording + 2]
        return self._profiles[:, first:last].astype(np.float32) / LOUDEST

    def score_work(self, recording: int) -> int | None:
        """Look up the number of a recording's work in `scores.npz`.

        Parameters
        ----------
        recording : int
            Its index in the archive.

        Returns
        -------
        int or None
            None if unknown.
        """
        number = int(self._score_work[recording])
        return None if number == NO_WORK else number

    def confirmed(self, recording: int) -> bool:
        """Whether aligning a recording with another version confirms its work.

        Parameters
        ----------
        recording : int
            Its index in the archive.

        Returns
        -------
        bool
        """
        return bool(self._confirmed[recording])


def profile_of(columns: Array) -> Array:
    """Fold CQT columns to a profile, as in the chroma view.

    Parameters
    ----------
    columns : float32 [84, columns]
        Magnitudes, 0.464 s per column.

    Returns
    -------
    float32 [12, steps]
        In 0..1, row 0 is C; at most 330 steps of 0.93 s, at least one.
    """
    steps = max(columns.shape[1] // COLUMNS_PER_STEP, 1)
    folded = fold(columns)[:, : steps * COLUMNS_PER_STEP]
    profile = loudest_to_one(folded.reshape(12, steps, -1).mean(axis=2), silence=0.0)
    return profile[:, :LONGEST_STEPS]


def profile_arrays(
    profiles: Sequence[Array], *, works: Sequence[int], splits: Sequence[str], names: Sequence[str]
) -> dict[str, NDArray]:
    """Make the arrays of an archive of profiles.

    Parameters
    ----------
    profiles : sequence of float32 [12, steps]
        In 0..1, row 0 is C.
    works : sequence of int
        Equal numbers are versions of one work.
    splits : sequence of {"train", "validation"}
        Of each profile.
    names : sequence of str
        A line break in one becomes a blank.

    Returns
    -------
    dict of str to array
        For `mirex.corpora.archive.save_archive`.
    """
    levels = [np.round(np.roll(profile, SEMITONES_TO_C, axis=0) * LOUDEST) for profile in profiles]
    return {
        "hpcp": np.concatenate([np.zeros((12, 0)), *levels], axis=1).astype(np.uint8),
        "recording_offset": offsets_of([each.shape[1] for each in levels]),
        "recording_work": np.array(works, np.uint32),
        "recording_split": np.array([SPLITS[split] for split in splits], np.uint8),
        "recording_name": joined_names(names),
    }
