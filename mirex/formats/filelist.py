"""MIREX list files: one path per line, no header; and the numbering that a matrix uses.

Real lists also hold a byte order mark, CRLF, blank lines, trailing blanks, tab-separated columns
after the path, a last line without its newline, and what playlists and old editors add: lines that
begin with #EXT, and a lone Ctrl-Z. A path may contain spaces and any letters, so
lines are split on newline and tab only. Paths are decoded as UTF-8 with `surrogateescape`: a name
in another encoding reaches the file system, and the matrix, with its bytes unchanged.
"""

import codecs
import dataclasses
import os
import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path

from mirex.errors import ListFileError

EXAMPLES = 3  # how many examples one warning shows


@dataclasses.dataclass(frozen=True)
class FileList:
    """The paths of one list file, in file order; duplicates are kept. skipped: lines that name no file."""

    paths: tuple[str, ...]
    skipped: int = 0


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
    numbered = enumerate(data.removeprefix(codecs.BOM_UTF8).split(b"\n"), 1)
    lines = [(number, line) for number, line in numbered if line.strip()]
    kept = [(number, line) for number, line in lines if not _names_no_file(line)]
    try:
        paths = tuple(_path_of(line, number) for number, line in kept)
    except ValueError as error:
        raise ListFileError(f"list file {os.fspath(path)!r}, {error}") from error
    if not paths:
        raise ListFileError(f"list file {os.fspath(path)!r} lists no files; give one path per line")
    return FileList(paths, skipped=len(lines) - len(kept))


def _names_no_file(line: bytes) -> bool:
    """What a playlist (#EXTM3U, #EXTINF) or an old editor (Ctrl-Z at the end) adds."""
    return line.startswith(b"#EXT") or line.strip() == b"\x1a"


def likely_form(paths: Sequence[str]) -> str | None:
    """What a list seems to be, none of whose files can be read.

    Parameters
    ----------
    paths : sequence of str
        As the list gives them.

    Returns
    -------
    str or None
        A sentence that says what is wrong with every path; None if nothing is seen.
    """
    for pattern, form in _FORMS:
        if all(re.search(pattern, path) for path in paths):
            return form
    if sum(re.fullmatch(r"Q/R|\d+", path) is not None for path in paths) > 0.9 * len(paths):
        return "it looks like a distance matrix; give a list with one path a line"
    return None


# Tried in this order, the special before the general.
_FORMS = (
    (r"^[\[\]{}]|^\s*\".*\"\s*:|^\s+\".*\",?$", "it looks like JSON; give one path a line"),
    (r"^([\"']).*\1$", "every path stands in quotes; leave them out"),
    (r"^[\"']", "every path begins with a quote; leave it out"),
    (r"^(\[playlist\]|(File|Title|Length)\d+=|NumberOfEntries=|Version=)", "it looks like a PLS playlist"),
    (r"^\s*<", "it looks like XML; give one path a line"),
    (r"^file://", "every path is an address (file://); give plain paths"),
    (r"^[a-z]+://", "every path is an address; give paths of files"),
    (r"^\d+[.):]?\s+\S", "every path begins with a number; leave it out"),
    (r"^\d+$", "its first column holds numbers; the path is the first column"),
    (r"[,;]", "every line has commas or semicolons; if it is CSV, give the path alone"),
    (r"^[A-Za-z]:[\\/]|\\", "every path is written as on Windows; give paths with slashes"),
    (r"^~", "every path begins with ~, which only a shell understands; write the folder out"),
    (r"\$", "every path holds a $, which only a shell understands; write the folder out"),
    (r"%[0-9A-Fa-f]{2}", "every path holds codes like %20; give plain paths"),
)


def _path_of(line: bytes, number: int) -> str:
    """The path of one line: up to the first tab, without trailing blanks and carriage returns."""
    path = line.partition(b"\t")[0].rstrip(b" \r")
    if not path:
        raise ValueError(f"line {number}: no path before the tab; the path is the first column")
    if b"\r" in path:
        raise ValueError(f"line {number}: carriage return inside the path; end lines with LF or CRLF")
    return path.decode("utf-8", "surrogateescape")


def number_collection(
    collection: Sequence[str],
    queries: Sequence[str],
    *,
    identity: Callable[[str], Hashable | None] = lambda path: None,
) -> Numbering:
    """Number the collection and find each query in it.

    A duplicate path keeps both lines, and a query gets its first match. A query that is the same file as
    an entry of the collection by another path is numbered there. Queries that the collection lacks are
    appended to it, each once, in query-list order, so that the matrix has a column for every query.

    Parameters
    ----------
    collection, queries : sequence of str
        Paths of the two lists.
    identity : callable
        What tells a path's file from others, such as `file_identity`; None where it is not known. It is
        asked only if a query's path is missing from the collection.

    Returns
    -------
    Numbering
    """
    paths = list(collection)
    first: dict[str, int] = {}
    for position, path in enumerate(paths):
        first.setdefault(path, position)
    files: dict[Hashable, int] = {}
    if any(query not in first for query in queries):
        for position, path in enumerate(paths):
            files.setdefault(identity(path), position)
        files.pop(None, None)
    for query in queries:
        if query not in first:
            first[query] = files.get(identity(query), len(paths))
            if first[query] == len(paths):
                files.setdefault(identity(query), len(paths))
                files.pop(None, None)
                paths.append(query)
    positions = tuple(first[query] for query in queries)
    return Numbering(tuple(paths), positions, appended=len(paths) - len(collection))


def file_identity(path: str | os.PathLike[str]) -> Hashable | None:
    """Device and inode of a file, the same by whatever path it is reached; None if there is none."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def name_warnings(paths: Sequence[str]) -> list[str]:
    """Warn of names with which a reader of the matrix would go wrong; at most one line per kind.

    The readers split at white space, and know a track by its basename up to the first dot, in any
    case; they fail on a basename, cut at white space, of fewer than 3 characters. In an ASCII locale they
    replace each byte outside ASCII by one character. Examples come with their number in the list.
    """
    stems = [_stem(path) for path in paths]
    blank = [i for i, path in enumerate(paths) if any(character.isspace() for character in path)]
    short = [i for i, path in enumerate(paths) if len(_first_word(path).rpartition("/")[2]) < 3]
    foreign = [i for i, path in enumerate(paths) if not path.isascii()]
    masked = _alike([_in_ascii(path) for path in paths])
    confused = [group for group in masked if len({paths[i] for i in group}) > 1]
    alike = _alike(stems)
    warnings = []
    if foreign:
        warnings.append(f"{_paths(len(foreign))} letters outside ASCII: {_show(paths, foreign)}")
    if confused:
        pairs = "; ".join(_show(paths, group) for group in confused[:EXAMPLES])
        warnings.append(
            f"{sum(map(len, confused))} paths are equal where letters outside ASCII are not understood; in "
            f"an ASCII locale one reader takes them for one track, another fails: {pairs}"
        )
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
            f"{_paths(len(short))} a basename of fewer than 3 characters, cut at white space, "
            f"on which readers fail: {_show(paths, short)}"
        )
    return warnings


def _first_word(path: str) -> str:
    """The path up to its first white space."""
    words = path.split(maxsplit=1)
    return words[0] if words else ""


def _in_ascii(path: str) -> str:
    """The path as an ASCII locale shows it: one character for each byte outside ASCII."""
    return re.sub(rb"[^\x00-\x7f]", b"?", path.encode("utf-8", "surrogateescape")).decode("ascii")


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
