"""MIREX list files: one path per line, no header; and the numbering that a matrix uses.

Real lists also hold a byte order mark, CRLF, blank lines, trailing blanks, tab-separated columns
after the path, and a last line without its newline. A path may contain spaces and any letters, so
lines are split on newline and tab only. Paths are decoded as UTF-8 with `surrogateescape`: a name
in another encoding reaches the file system, and the matrix, with its bytes unchanged.
"""

import codecs
import dataclasses
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from mirex.errors import ListFileError

EXAMPLES = 3  # how many examples one warning shows


@dataclasses.dataclass(frozen=True)
class FileList:
    """The paths of one list file, in file order; duplicates are kept."""

    paths: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Numbering:
    """The numbered list of a matrix, and where each query stands in it.

    paths: the collection, then the queries that it lacks. query_positions: 0-based index into
    `paths`, one per query in query-list order. appended: how many paths were appended.
    """

    paths: tuple[str, ...]
    query_positions: tuple[int, ...]
    appended: int


def read_list(path: str | os.PathLike[str]) -> FileList:
    """Read a list file.

    A list without any path is an error: an empty collection or query list gives no matrix, and is
    nearly always a wrong argument or a failed script before this one.

    Raises `ListFileError` if the file cannot be read, is not text (NUL bytes: UTF-16, or audio),
    lists nothing, or has a line that starts with a tab or has a carriage return inside the path.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ListFileError(f"list file {os.fspath(path)!r}: cannot read it: {error.strerror}") from error
    if b"\0" in data:
        raise ListFileError(
            f"list file {os.fspath(path)!r} is not text (it holds NUL bytes); "
            "give a text file in UTF-8 with one path per line"
        )
    lines = data.removeprefix(codecs.BOM_UTF8).split(b"\n")
    try:
        paths = tuple(_path_of(line, number) for number, line in enumerate(lines, 1) if line.strip())
    except ValueError as error:
        raise ListFileError(f"list file {os.fspath(path)!r}, {error}") from error
    if not paths:
        raise ListFileError(f"list file {os.fspath(path)!r} lists no files; give one path per line")
    return FileList(paths)


def _path_of(line: bytes, number: int) -> str:
    """The path of one line: up to the first tab, without trailing blanks and carriage returns."""
    path = line.partition(b"\t")[0].rstrip(b" \r")
    if not path:
        raise ValueError(f"line {number}: no path before the tab; the path is the first column")
    if b"\r" in path:
        raise ValueError(f"line {number}: carriage return inside the path; end lines with LF or CRLF")
    return path.decode("utf-8", "surrogateescape")


def number_collection(collection: Sequence[str], queries: Sequence[str]) -> Numbering:
    """Number the collection and find each query in it.

    A duplicate path keeps both lines, and a query gets its first match. Queries that the collection
    lacks are appended to it, each once, in query-list order, so that the matrix has a column for
    every query.
    """
    paths = list(collection)
    first: dict[str, int] = {}
    for position, path in enumerate(paths):
        first.setdefault(path, position)
    for query in queries:
        if query not in first:
            first[query] = len(paths)
            paths.append(query)
    positions = tuple(first[query] for query in queries)
    return Numbering(tuple(paths), positions, appended=len(paths) - len(collection))


def name_warnings(paths: Sequence[str]) -> list[str]:
    """Warn of names with which a reader of the matrix would go wrong; at most one line per kind.

    The readers split at white space, and know a track by its basename up to the first dot, in any
    case; they fail on fewer than 3 characters there. Examples come with their number in the list.
    """
    stems = [_stem(path) for path in paths]
    blank = [i for i, path in enumerate(paths) if any(character.isspace() for character in path)]
    short = [i for i, stem in enumerate(stems) if len(stem) < 3]
    alike = _alike(stems)
    warnings = []
    if blank:
        warnings.append(f"{_paths(len(blank))} white space, where readers split: {_show(paths, blank)}")
    if alike:
        pairs = "; ".join(_show(paths, group) for group in alike[:EXAMPLES])
        more = f"; and {len(alike) - EXAMPLES} more names" if len(alike) > EXAMPLES else ""
        warnings.append(
            f"{sum(map(len, alike))} paths share {len(alike)} basename(s) up to the first dot, ignoring "
            f"case, and readers take them for one track: {pairs}{more}"
        )
    if short:
        warnings.append(
            f"{_paths(len(short))} a basename of fewer than 3 characters up to the first dot, "
            f"on which readers fail: {_show(paths, short)}"
        )
    return warnings


def _stem(path: str) -> str:
    """Basename up to its first dot, without case: what the readers know a track by."""
    return path.rpartition("/")[2].partition(".")[0].casefold()


def _alike(stems: Iterable[str]) -> list[list[int]]:
    """Groups of positions with the same stem, for every stem that occurs more than once."""
    groups: dict[str, list[int]] = defaultdict(list)
    for position, stem in enumerate(stems):
        groups[stem].append(position)
    return [group for group in groups.values() if len(group) > 1]


def _paths(count: int) -> str:
    return "1 path has" if count == 1 else f"{count} paths have"


def _show(paths: Sequence[str], positions: Sequence[int]) -> str:
    """The first examples, each with its 1-based number; `repr` keeps odd bytes printable."""
    shown = ", ".join(f"{paths[i]!r} ({i + 1})" for i in positions[:EXAMPLES])
    return shown + (f", and {len(positions) - EXAMPLES} more" if len(positions) > EXAMPLES else "")
