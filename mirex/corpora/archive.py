"""Archives of versions: splits and works, which `scores.npz` and `hpcp.npz` have in common.

Both are NumPy archives without pickles; `FORMATS.md` beside this file describes them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from mirex.errors import TrainingError
from mirex.files import appearing_whole
from mirex.untrusted import load_arrays

SPLITS = {"train": 0, "validation": 1}


class VersionArchive:
    """The versions of one split, grouped by work.

    Attributes
    ----------
    kind : str
        Name of such a file in error messages.
    version : str
        Name of a version in the array names.
    works : list of int64 [versions of the work]
        Indices of each work's versions.
    numbers : int64 [works]
        Number of each work in the archive.
    count : int
        Versions in the archive, over all splits.
    names : list of str
        Of each version of the archive, "artist - title" as far as known.
    """

    kind: ClassVar[str]
    version: ClassVar[str]

    def __init__(self, arrays: dict[str, NDArray], *, split: str) -> None:
        versions = np.flatnonzero(arrays[f"{self.version}_split"] == SPLITS[split])
        works = arrays[f"{self.version}_work"][versions]
        order = np.argsort(works, kind="stable")
        bounds = np.flatnonzero(np.diff(works[order])) + 1
        self.works: list[NDArray[np.int64]] = np.split(versions[order], bounds) if len(versions) else []
        self.numbers = np.unique(works).astype(np.int64)
        self.count = len(arrays[f"{self.version}_split"])
        names = arrays.get(f"{self.version}_name")
        self.names = [""] * self.count if names is None else bytes(names).decode().split("\n")
        if len(self.names) != self.count:
            raise ValueError(f"{self.count} {self.version}s, {len(self.names)} names")

    def at(self, version: int) -> tuple[Self, int]:
        """Find the archive that has a version: here, this one.

        Parameters
        ----------
        version : int
            Its index.

        Returns
        -------
        archive : VersionArchive
            This one.
        index : int
            The version's index there: here, the same.
        """
        return self, version

    @classmethod
    def load(cls, path: Path, *, split: str = "train") -> Self:
        """Read the file.

        Parameters
        ----------
        path : Path
            The archive.
        split : {"train", "validation"}
            Which versions to group.

        Returns
        -------
        VersionArchive
            An object of the class that this is called on.

        Raises
        ------
        TrainingError
            If it cannot be read or is of another kind.
        """
        try:
            return cls(load_arrays(path), split=split)
        except (OSError, LookupError, ValueError, TypeError) as error:
            raise TrainingError(f"{path}: not {cls.kind} ({error})") from error


A = TypeVar("A", bound=VersionArchive)


class Joined(Generic[A]):
    """Several archives of one kind with the same numbers of works, as one.

    Parameters
    ----------
    archives : sequence of VersionArchive
        Of one kind.

    Attributes
    ----------
    works, numbers, names
        As in a `VersionArchive`. Indices of versions continue from archive to archive.
    """

    def __init__(self, archives: Sequence[A]) -> None:
        self._archives = archives
        self._first = np.cumsum([0, *(archive.count for archive in archives)])
        grouped: dict[int, list[NDArray[np.int64]]] = {}
        for first, archive in zip(self._first.tolist(), archives, strict=False):
            for number, versions in zip(archive.numbers.tolist(), archive.works, strict=True):
                grouped.setdefault(number, []).append(first + versions)
        self.numbers = np.array(list(grouped), np.int64)
        self.works = [np.concatenate(found) for found in grouped.values()]
        self.names = [name for archive in archives for name in archive.names]

    def at(self, version: int) -> tuple[A, int]:
        """Find the archive that has a version.

        Parameters
        ----------
        version : int
            Its index in all of them.

        Returns
        -------
        archive : VersionArchive
            One of them.
        index : int
            The version's index there.
        """
        place = int(np.searchsorted(self._first, version, side="right")) - 1
        return self._archives[place], version - int(self._first[place])


def offsets_of(lengths: Sequence[int]) -> NDArray[np.uint32]:
    """Compute where consecutive parts begin, and where the last one ends.

    Parameters
    ----------
    lengths : sequence of int
        Of the parts.

    Returns
    -------
    uint32 [parts + 1]
    """
    return np.cumsum([0, *lengths]).astype(np.uint32)


def joined_names(names: Sequence[str]) -> NDArray[np.uint8]:
    """Encode names for an archive.

    Parameters
    ----------
    names : sequence of str
        A line break in one becomes a blank.

    Returns
    -------
    uint8 [bytes]
        UTF-8, joined by line breaks.
    """
    return np.frombuffer("\n".join(" ".join(name.splitlines()) for name in names).encode(), np.uint8)


def save_archive(arrays: dict[str, Any], *, path: Path) -> None:
    """Write arrays as a compressed NumPy archive, whole or not at all.

    Parameters
    ----------
    arrays : dict of str to array
        By the names that `numpy.load` will give them.
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
        raise TrainingError(f"{path}: cannot be written ({error.strerror}); name another file") from error
