"""Profiles: recordings of works as pitch classes along time, read from `hpcp.npz`.

The format is described beside the corpus. A step is 0.93 s; here row 0 is C, in the archive it is A.
"""

from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mirex.errors import TrainingError
from mirex.training.scores import SPLITS, by_work

LOUDEST = np.float32(15)
SEMITONES_TO_C = 3


class ProfileCorpus:
    """The recordings of one split, grouped by work.

    works: for each work the indices of its recordings, int64 [recordings of the work].
    """

    def __init__(self, arrays: dict[str, NDArray], *, split: str) -> None:
        self._profiles = np.roll(arrays["hpcp"], -SEMITONES_TO_C, axis=0)
        self._offsets = arrays["recording_offset"].astype(np.int64)
        kept = np.flatnonzero(arrays["recording_split"] == SPLITS[split])
        self.works = by_work(kept, arrays["recording_work"][kept])

    @classmethod
    def load(cls, path: Path, *, split: str = "train") -> Self:
        """Read `hpcp.npz`. Raises TrainingError if the file is not one."""
        try:
            with np.load(path, allow_pickle=False) as archive:
                return cls({name: archive[name] for name in archive.files}, split=split)
        except (OSError, KeyError, ValueError) as error:
            raise TrainingError(f"{path}: not an archive of profiles ({error})") from error

    def profile(self, recording: int) -> NDArray[np.float32]:
        """The whole recording: float32 [12, steps] in 0..1."""
        first, last = self._offsets[recording : recording + 2]
        return self._profiles[:, first:last].astype(np.float32) / LOUDEST
