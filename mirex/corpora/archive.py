"""Archives of versions: what `scores.npz` and `hpcp.npz` have in common, splits and works.

Both are NumPy archives without pickles; their formats are described beside the corpus.
"""

import zipfile
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from mirex.errors import TrainingError
from mirex.files import appearing_whole

SPLITS = {"train": 0, "validation": 1}


class VersionArchive:
    """The versions of one split, grouped by work.

    kind: what an error message calls such a file. version: name of a version in the names of its arrays.
    works: for each work the indices of its versions, int64 [versions of the work].
    """

    kind: ClassVar[str]
    version: ClassVar[str]

    def __init__(self, arrays: dict[str, NDArray], *, split: str) -> None:
        versions = np.flatnonzero(arrays[f"{self.version}_split"] == SPLITS[split])
        works = arrays[f"{self.version}_work"][versions]
        order = np.argsort(works, kind="stable")
        bounds = np.flatnonzero(np.diff(works[order])) + 1
        self.works: list[NDArray[np.int64]] = np.split(versions[order], bounds)

    @classmethod
    def load(cls, path: Path, *, split: str = "train") -> Self:
        """Read the file. Raises TrainingError if it is not of this kind."""
        try:
            with np.load(path, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
            return cls(arrays, split=split)
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise TrainingError(f"{path}: not {cls.kind} ({error})") from error


def save_archive(arrays: dict[str, Any], *, path: Path) -> None:
    """Write arrays as a NumPy archive, compressed, which appears whole or not at all.

    Parameters
    ----------
    arrays : dict of str to array
        By the names that `numpy.load` is to give them.
    path : Path
        The file to write.

    Raises
    ------
    TrainingError
        If it cannot be written.
    """
    try:
        with appearing_whole(path) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
    except OSError as error:
        raise TrainingError(f"{path}: cannot be written ({error.strerror})") from error
