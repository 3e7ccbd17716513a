"""Profiles: recordings of works as pitch classes along time, read from `hpcp.npz`.

The format is described beside the corpus. A step is 0.93 s; here row 0 is C, in the archive it is A.
"""

import numpy as np
from numpy.typing import NDArray

from mirex.corpora.archive import VersionArchive

LOUDEST = np.float32(15)
SEMITONES_TO_C = 3


class ProfileCorpus(VersionArchive):
    """The recordings of one split, grouped by work."""

    kind = "an archive of profiles"
    version = "recording"

    def __init__(self, arrays: dict[str, NDArray], *, split: str) -> None:
        super().__init__(arrays, split=split)
        self._profiles = np.roll(arrays["hpcp"], -SEMITONES_TO_C, axis=0)
        self._offsets = arrays["recording_offset"].astype(np.int64)

    def profile(self, recording: int) -> NDArray[np.float32]:
        """The whole recording: float32 [12, steps] in 0..1."""
        first, last = self._offsets[recording : recording + 2]
        return self._profiles[:, first:last].astype(np.float32) / LOUDEST
