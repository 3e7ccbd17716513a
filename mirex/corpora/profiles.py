"""Profiles: recordings of works as pitch classes along time, read from `hpcp.npz` and `profiles-more.npz`.

`FORMATS.md` beside this file describes the archive. A step is 0.93 s; here row 0 is C, in the
archive it is A.
"""

import numpy as np
from numpy.typing import NDArray

from mirex.corpora.archive import VersionArchive

LOUDEST = np.float32(15)
SEMITONES_TO_C = 3
NO_WORK = 0xFFFFFFFF


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
        """The whole recording: float32 [12, steps] in 0..1."""
        first, last = self._offsets[recording : recording + 2]
        return self._profiles[:, first:last].astype(np.float32) / LOUDEST

    def score_work(self, recording: int) -> int | None:
        """The number in `scores.npz` of the work that this is a recording of; None: not known."""
        number = int(self._score_work[recording])
        return None if number == NO_WORK else number

    def confirmed(self, recording: int) -> bool:
        """Whether aligning it with another version confirms its work."""
        return bool(self._confirmed[recording])
