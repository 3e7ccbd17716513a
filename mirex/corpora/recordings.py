"""A user's own recordings as training data: a CSV of `work,path` to CQT columns that processes share.

Decoding and transform are those of extraction, in its crash-proof processes. Columns are kept in the scratch
store, so that a second run can read them. Then all of them go into one file, which every process of the
loader maps into memory: they are read once and held once. A recording that cannot be read is reported and
left out; a work needs two readable ones.
"""

import csv
import dataclasses
import functools
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mirex._typing import Array
from mirex.errors import TrainingError
from mirex.extraction.contents import identify
from mirex.extraction.extract import read_columns
from mirex.extraction.store import Store
from mirex.features.cqt import IMPLEMENTATIONS
from mirex.files import appearing_whole
from mirex.settings import BINS, FrontEndSettings

CQT = IMPLEMENTATIONS[0]
STORED = np.dtype("<f2")  # as columns are kept in the store

Report = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class PackedRecordings:
    """Columns of recordings in one file; cheap to hand to another process.

    Attributes
    ----------
    path : Path
        float16 [columns of all recordings, 84], without a header.
    offsets : tuple of int
        Recording i has the columns offsets[i] to offsets[i + 1].
    works : tuple of tuples of int
        The recordings of each work.
    names : tuple of str
        Of each work, as the CSV has it.
    """

    path: Path
    offsets: tuple[int, ...]
    works: tuple[tuple[int, ...], ...]
    names: tuple[str, ...]

    def columns(self, recording: int) -> Array:
        """Read a whole recording.

        Parameters
        ----------
        recording : int
            Its index.

        Returns
        -------
        float32 [84, columns]
            Magnitudes.
        """
        first, last = self.offsets[recording : recording + 2]
        return np.ascontiguousarray(_mapped(self.path)[first:last].T, dtype=np.float32)


@functools.lru_cache(maxsize=8)
def _mapped(path: Path) -> NDArray[np.float16]:
    return np.memmap(path, STORED, mode="r").reshape(-1, BINS)


def read_table(path: Path, *, columns: Sequence[str], folder: Path | None = None) -> list[dict[str, str]]:
    """Read the rows of a CSV, with paths relative to a folder.

    Parameters
    ----------
    path : Path
        A CSV with a header; the column `path` has file names.
    columns : sequence of str
        Required columns; there may be more.
    folder : Path, optional
        Relative paths start from it; the CSV's folder by default.

    Returns
    -------
    list of dict of str to str
        The rows by column; a relative `path` has the folder before it.

    Raises
    ------
    TrainingError
        If the file cannot be read, is not UTF-8, or lacks a column or a value of one.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if not set(columns) <= set(reader.fieldnames or ()):
                wanted = " and ".join(columns)
                raise TrainingError(
                    f"{path}: the header is {reader.fieldnames}; it needs the columns {wanted}"
                )
            rows = list(reader)
    except OSError as error:
        wanted = ",".join(columns)
        raise TrainingError(f"{path}: {error.strerror}; give a CSV with the header {wanted}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise TrainingError(f"{path}: not a CSV in UTF-8 ({error})") from error
    for number, row in enumerate(rows, 2):
        if not all(row[name] for name in columns):
            raise TrainingError(f"{path}, row {number}: fill in {' and '.join(columns)}")
    before = path.parent if folder is None else folder
    return [row | {"path": str(before / row["path"])} for row in rows]


def read_recordings(path: Path) -> dict[str, list[Path]]:
    """Read a CSV with the header `work,path`.

    Parameters
    ----------
    path : Path
        The CSV. Relative paths start from its folder.

    Returns
    -------
    dict of str to list of Path
        The recordings of each work.

    Raises
    ------
    TrainingError
        For a missing file or column; as `read_table`.
    """
    works: dict[str, list[Path]] = {}
    for row in read_table(path, columns=("work", "path")):
        works.setdefault(row["work"], []).append(Path(row["path"]))
    return works


class StoredColumns:
    """CQT columns of audio files, computed if the scratch store lacks them.

    Attributes
    ----------
    contents : dict of int to str
        Content hashes of the readable files, by their index in the paths, in ascending order.
    """

    def __init__(self, paths: Sequence[Path], *, scratch: Path, processes: int, report: Report) -> None:
        """Read, transform and store the files.

        Parameters
        ----------
        paths : sequence of Path
            Audio files.
        scratch : Path
            Folder of the store; created if missing.
        processes : int
            Worker processes of one thread each; one that crashes loses only its recording.
        report : callable
            Called with a line for each file that is left out, with the reason.

        Raises
        ------
        StoreError
            If the scratch folder cannot be used.
        """
        self._store = Store(scratch, front_end=FrontEndSettings().fingerprint(), weights="", cqt=CQT)
        self.contents: dict[int, str] = {}
        names = [str(path) for path in paths]
        contents, _ = identify(names, scratch=scratch, threads=processes)
        for index, found in read_columns(names, scratch=scratch, threads=processes, cqt=CQT):
            content = contents[index]
            if isinstance(found, str) or content is None:
                report(f"left out {paths[index]}: {found}")
            else:
                self.contents[index] = content

    def columns(self, index: int) -> Array:
        """Read the magnitudes of a file, rounded to float16.

        Parameters
        ----------
        index : int
            The file's index in the paths, one of `contents`.

        Returns
        -------
        float32 [84, columns]

        Raises
        ------
        TrainingError
            If the store no longer has them.
        """
        found = self._store.get(self.contents[index], kind="columns")
        if found is None:
            raise TrainingError(
                f"{self._store.folder}: columns that were just stored have disappeared; run again"
            )
        return found.astype(np.float32)


def load_columns(
    works: dict[str, list[Path]], *, scratch: Path, processes: int, report: Report
) -> PackedRecordings:
    """Pack the CQT columns of all works with two or more readable recordings into one file.

    Parameters
    ----------
    works : dict of str to list of Path
        Audio files of each work. Identical files of a work count once.
    scratch : Path
        Folder of the store and of the file; created if missing.
    processes : int
        Worker processes.
    report : callable
        Called with a line for each recording that is left out.

    Returns
    -------
    PackedRecordings

    Raises
    ------
    TrainingError
        If no work has two readable recordings, or the file cannot be written.
    """
    paths = [path for found in works.values() for path in found]
    of_work = [work for work, found in works.items() for _ in found]
    stored = StoredColumns(paths, scratch=scratch, processes=processes, report=report)
    groups: dict[str, dict[str, int]] = {}
    for index, content in stored.contents.items():
        groups.setdefault(of_work[index], {}).setdefault(content, index)
    kept = {work: list(found.values()) for work, found in groups.items() if len(found) >= 2}
    if not kept:
        raise TrainingError(
            f"none of {len(works)} works has two readable recordings; give at least two versions of a work"
        )
    return _packed(kept, stored, folder=scratch)


def _packed(works: dict[str, list[int]], stored: StoredColumns, *, folder: Path) -> PackedRecordings:
    """Write the columns of these recordings to one file, named by its content."""
    order = [index for found in works.values() for index in found]
    digest = hashlib.sha256(" ".join(stored.contents[index] for index in order).encode()).hexdigest()
    path = folder / f"columns-{digest[:16]}"
    offsets = [0]
    try:
        with appearing_whole(path) as temporary, open(temporary, "wb") as file:
            for index in order:
                columns = stored.columns(index)
                file.write(columns.T.astype(STORED).tobytes())
                offsets.append(offsets[-1] + columns.shape[1])
    except OSError as error:
        raise TrainingError(
            f"{path}: cannot be written ({error.strerror}); free some space or name another folder"
        ) from error
    numbers = iter(range(len(order)))
    packed = tuple(tuple(next(numbers) for _ in found) for found in works.values())
    return PackedRecordings(path, tuple(offsets), packed, tuple(works))
