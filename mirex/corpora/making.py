"""Making archives from a table of the user's files: scores from MIDI, recordings and profiles from audio.

The table is a CSV with the columns `path` and `work`, and optionally `split` (train or validation; empty:
train) and `name` ("artist - title"; empty: the file's name). Archives that are used together join works by
number, so a work's number depends on its name alone (`work_number`). A file that cannot be read is reported
and left out.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from mirex.corpora.archive import SPLITS, save_archive
from mirex.corpora.cqt_levels import level_arrays
from mirex.corpora.midi import read_midi
from mirex.corpora.profiles import NO_WORK, profile_arrays, profile_of
from mirex.corpora.recordings import Report, StoredColumns, read_table
from mirex.corpora.scores import Score, score_arrays
from mirex.errors import TrainingError

Progress = Callable[[int, int], None]
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Versions:
    """Rows of a table, in parallel.

    Attributes
    ----------
    paths : tuple of Path
        Files.
    works : tuple of int
        Equal numbers are versions of one work.
    splits : tuple of {"train", "validation"}
    names : tuple of str
        "artist - title", or the file's name without its extension.
    """

    paths: tuple[Path, ...]
    works: tuple[int, ...]
    splits: tuple[str, ...]
    names: tuple[str, ...]

    def only(self, kept: Sequence[int]) -> "Versions":
        """Select rows.

        Parameters
        ----------
        kept : sequence of int
            Indices of the rows.

        Returns
        -------
        Versions
            In the order of `kept`.
        """

        def those(values: tuple[T, ...]) -> tuple[T, ...]:
            return tuple(values[index] for index in kept)

        return Versions(those(self.paths), those(self.works), those(self.splits), those(self.names))


def read_versions(table: Path, *, folder: Path | None = None) -> Versions:
    """Read a table of files.

    Parameters
    ----------
    table : Path
        The CSV.
    folder : Path, optional
        Relative paths start from it; the table's folder by default.

    Returns
    -------
    Versions

    Raises
    ------
    TrainingError
        If the table cannot be read, has no rows, has an invalid value, or has two works with one number.
    """
    rows = read_table(table, columns=("work", "path"), folder=folder)
    if not rows:
        raise TrainingError(f"{table}: has no rows; list files and their works")
    splits = tuple(row.get("split") or "train" for row in rows)
    for number, split in enumerate(splits, 2):
        if split not in SPLITS:
            raise TrainingError(f"{table}, row {number}: split {split!r}; give train or validation")
    paths = tuple(Path(row["path"]) for row in rows)
    names = tuple(row.get("name") or path.stem for row, path in zip(rows, paths, strict=True))
    return Versions(paths, _numbers([row["work"] for row in rows], table), splits, names)


def work_number(work: str) -> int:
    """Number a work by its name alone, so that archives agree on it.

    Parameters
    ----------
    work : str
        Its name; a whole number stands for itself.

    Returns
    -------
    int
        Otherwise the first 32 bits of the name's SHA-256, but never NO_WORK.
    """
    if work.isdecimal():
        return int(work)
    first = int.from_bytes(hashlib.sha256(work.encode()).digest()[:4], "big")
    return min(first, NO_WORK - 1)


def make_scores(versions: Versions, *, path: Path, report: Report, progress: Progress | None = None) -> int:
    """Write an archive of scores from MIDI files.

    Parameters
    ----------
    versions : Versions
        MIDI files.
    path : Path
        The archive.
    report : callable
        Called with a line for each file that is left out.
    progress : callable, optional
        Called with (done, total) files.

    Returns
    -------
    int
        How many songs it has.

    Raises
    ------
    TrainingError
        If no file can be read, or the archive cannot be written.
    MirexError
        If mido is not installed.
    """
    found: dict[int, Score] = {}
    for index, file in enumerate(versions.paths):
        if progress:
            progress(index, len(versions.paths))
        try:
            found[index] = read_midi(file)
        except TrainingError as error:
            report(f"left out {error}")
    kept = _kept(versions, found, "MIDI file")
    arrays = score_arrays(list(found.values()), works=kept.works, splits=kept.splits, names=kept.names)
    save_archive(arrays, path=path)
    return len(found)


def make_recordings(versions: Versions, *, path: Path, scratch: Path, processes: int, report: Report) -> int:
    """Write an archive of recordings as CQT levels from audio files.

    Parameters
    ----------
    versions : Versions
        Audio files.
    path : Path
        The archive.
    scratch : Path
        Folder of the store that keeps columns.
    processes : int
        Worker processes.
    report : callable
        Called with a line for each file that is left out.

    Returns
    -------
    int
        How many recordings it has.

    Raises
    ------
    TrainingError
        If no file can be read, or the archive cannot be written.
    """
    stored = StoredColumns(versions.paths, scratch=scratch, processes=processes, report=report)
    kept = _kept(versions, stored.contents, "audio file")
    columns = [stored.columns(index) for index in stored.contents]
    arrays = level_arrays(columns, works=kept.works, splits=kept.splits, names=kept.names)
    save_archive(arrays, path=path)
    return len(columns)


def make_profiles(versions: Versions, *, path: Path, scratch: Path, processes: int, report: Report) -> int:
    """Write an archive of pitch-class profiles from audio files.

    Parameters
    ----------
    versions, path, scratch, processes, report
        As for `make_recordings`.

    Returns
    -------
    int
        How many profiles it has.

    Raises
    ------
    TrainingError
        As `make_recordings`.
    """
    stored = StoredColumns(versions.paths, scratch=scratch, processes=processes, report=report)
    kept = _kept(versions, stored.contents, "audio file")
    profiles = [profile_of(stored.columns(index)) for index in stored.contents]
    arrays = profile_arrays(profiles, works=kept.works, splits=kept.splits, names=kept.names)
    save_archive(arrays, path=path)
    return len(profiles)


def _kept(versions: Versions, found: dict[int, Score] | dict[int, str], kind: str) -> Versions:
    if not found:
        raise TrainingError(f"none of {len(versions.paths)} {kind}s can be read; the lines above say why")
    return versions.only(list(found))


def _numbers(works: Sequence[str], table: Path) -> tuple[int, ...]:
    numbers = {work: work_number(work) for work in dict.fromkeys(works)}
    if max(numbers.values()) >= NO_WORK:
        raise TrainingError(f"{table}: work {max(numbers.values())}; give numbers below 2^32 - 1, or names")
    first: dict[int, str] = {}
    for work, number in numbers.items():
        other = first.setdefault(number, work)
        # 7 and 007 are one number, as written.
        if other != work and not (other.isdecimal() and work.isdecimal()):
            raise TrainingError(
                f"{table}: works {other!r} and {work!r} both have the number {number}, which is taken from "
                "the name; rename one of them, in every table that has it"
            )
    return tuple(numbers[work] for work in works)
