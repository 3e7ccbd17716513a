"""The report of failures, `failed.tsv` in the scratch folder: one `path<TAB>reason` per line.

It holds this run's failures, in the order of its list, followed by those of other runs on the folder: of
other lists, or of other shares of one list. A later run of the same list replaces that list's failures, and
any run that can analyse a file takes the file off the report. Different files may have one path in two lists,
so a failure is that of a path at a location; of a path alone if the file was missing, since nobody knows
where it will appear.

Each failure is kept in a small file of its own, named by run, path and location (which older versions left
out), and the report is made from all of them. So runs need no lock: after a run has renamed its report into
place, it checks whether the failures are still those that the report was made from, and makes it again if
not. The last run has seen them all.
"""

import hashlib
import logging
import os
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path

from mirex.extraction.store import FOLDER
from mirex.files import TEMPORARY_SUFFIX, write_whole

NAME = "failed.tsv"
_KEPT = "failed"  # in the store's folder

log = logging.getLogger(__name__)


def write_report(
    scratch: str | os.PathLike[str],
    *,
    run: str,
    paths: Sequence[str],
    failures: Sequence[tuple[str, str]],
    locations: Sequence[str] | None = None,
) -> None:
    """Bring the report of failures up to date; if the folder cannot be written, log a warning.

    Parameters
    ----------
    scratch : path-like
        The scratch folder.
    run : str
        Identifies this run's list: a later run with the same value replaces what this one reports.
    paths : sequence of str
        All files of the run.
    failures : sequence of (path, reason)
        Those that failed, in the order of the list.
    locations : sequence of str, optional
        Path of each file, if that differs from its name.
    """
    places = dict(zip(paths, paths if locations is None else locations, strict=True))
    lines = {_key(path, places[path]): _line(path, reason) for path, reason in failures}
    report, folder = Path(scratch) / NAME, Path(scratch) / FOLDER / _KEPT
    try:
        _keep(folder, run, places, lines, failed={path for path, _ in failures})
        made_from = None
        while (now := _names(folder)) != made_from:
            made_from = now
            text = _text(folder, now, lines)
            if not report.is_file() or report.read_bytes() != text:
                write_whole(report, text)
    except OSError as error:
        log.warning("%s cannot be written: %s; see this log for failures", report, error.strerror)


def _keep(
    folder: Path, run: str, places: Mapping[str, str], lines: Mapping[str, bytes], *, failed: Container[str]
) -> None:
    """Keep one file per failure; remove those of the run's good files and of its earlier reports."""
    kept = {f"{_digits(run)}-{key}": line for key, line in lines.items()}
    good = {_digits(path): path for path in places if path not in failed}
    for name in _names(folder):
        of_run, _, key = name.partition("-")
        path = good.get(key.partition("-")[0])
        is_good = path is not None and key in (_digits(path), _key(path, places[path]))
        if is_good or (of_run == _digits(run) and name not in kept):
            (folder / name).unlink(missing_ok=True)
    if kept:
        # The scratch folder itself exists, unless it was removed during the run.
        folder.mkdir(exist_ok=True)
    for name, line in kept.items():
        if _read(folder / name) != line:
            write_whole(folder / name, line)


def _text(folder: Path, names: Iterable[str], lines: Mapping[str, bytes]) -> bytes:
    """The report: this run's failures, then the others', each file once."""
    others = {name.partition("-")[2]: name for name in names}
    found = [_read(folder / name) for key, name in others.items() if key not in lines]
    return b"".join([*lines.values(), *sorted(found)])


def _key(path: str, place: str) -> str:
    """A file by its path and, unless it is missing, its location."""
    return f"{_digits(path)}-{_digits(os.path.realpath(place))}" if os.path.exists(place) else _digits(path)


def _read(path: Path) -> bytes:
    """A failure's line; empty if another run has just removed it, or if it is damaged."""
    try:
        line = path.read_bytes()
    except FileNotFoundError:
        return b""
    failed, tab, reason = line.decode("utf-8", "surrogateescape").partition("\t")
    whole = tab and reason.endswith("\n") and reason[:-1].isprintable()
    return line if whole and path.name.split("-")[1:2] == [_digits(failed)] else b""


def _names(folder: Path) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if not name.endswith(TEMPORARY_SUFFIX))
    except FileNotFoundError:
        return []


def _line(path: str, reason: str) -> bytes:
    return f"{path}\t{reason}\n".encode("utf-8", "surrogateescape")


def _digits(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]
