"""MIREX list files: one path per line, no header; and the numbering that a matrix uses.

Real lists also have a byte order mark, CRLF, blank lines, trailing blanks, tab-separated columns
after the path, or a last line without a newline; M3U playlists have `#EXT...` lines, and lists from DOS a
Ctrl-Z. A path may contain spaces and any letters, so lines are split at newlines and tabs only. Paths are
decoded as UTF-8 with `surrogateescape`: a name in another encoding reaches the file system and the
matrix with its bytes unchanged.
"""

import codecs
import dataclasses
import errno
import filecmp
import itertools
import logging
import os
import stat
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from mirex.errors import ListFileError
from mirex.formats.listforms import binary_form, likely_form
from mirex.untrusted import quoted, read_most

EXAMPLES = 3  # how many examples one warning shows
_HEAD = 1 << 16  # bytes that distinguish text from other files
_LARGEST = 1 << 30  # bytes: some ten million paths; an endless stream is not a list
_LONGEST = 1 << 16  # bytes of a line's path; systems allow 4,096
_CTRL_Z = b"\x1a"

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class FileList:
    """The paths of one list file.

    Attributes
    ----------
    paths : tuple of str
        In file order; duplicates are kept.
    """

    paths: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Numbering:
    """The numbered list of a matrix, and the position of each query in it.

    Attributes
    ----------
    paths : tuple of str
        The collection, then the queries that it lacks.
    query_positions : tuple of int
        Index into `paths`, from 0; one per query, in query-list order.
    appended : int
        How many paths were appended.
    renamed : int
        How many queries have the number of a collection entry that is the same file under another path.
    """

    paths: tuple[str, ...]
    query_positions: tuple[int, ...]
    appended: int
    renamed: int = 0


# Reading


def read_list(path: str | os.PathLike[str]) -> FileList:
    """Read a list file.

    A list without any path is an error: an empty collection or query list gives no matrix, and nearly
    always means a wrong argument or that an earlier script failed. `#EXT...` lines of playlists and Ctrl-Z
    are skipped, with one warning. Blanks at the end of a line belong to the path only if a file of that name
    exists and no file without them.

    Parameters
    ----------
    path : path-like
        The list file.

    Returns
    -------
    FileList

    Raises
    ------
    ListFileError
        If the file cannot be read, is not text (UTF-16, audio, an archive), lists nothing, or has a line that
        starts with a tab or has a carriage return inside the path.
    """
    folder = os.path.dirname(os.path.abspath(path))
    lines, skipped = _lines(_text(path), folder)
    if skipped:
        log.warning(
            "list file %r: skipped %d line(s) that do not name a file, the first: %r",
            os.fspath(path), len(skipped), skipped[0][:60],
        )  # fmt: skip
    try:
        paths = tuple(_path_of(line, number, folder) for number, line in lines)
    except ValueError as error:
        raise ListFileError(f"list file {os.fspath(path)!r}, {error}") from error
    if not paths:
        raise ListFileError(f"list file {os.fspath(path)!r} lists no files; give one path per line")
    return FileList(paths)


def _lines(data: bytes, folder: str) -> tuple[list[tuple[int, bytes]], list[str]]:
    """The lines that name a file, each with its number; and those that do not, except blank ones."""
    kept: list[tuple[int, bytes]] = []
    skipped: list[str] = []
    lines = data.rstrip(b"\r\n").split(b"\n")
    if lines[-1].endswith(_CTRL_Z):  # after the last path, where DOS ends a text
        lines[-1:] = [lines[-1].removesuffix(_CTRL_Z), _CTRL_Z]
    playlist = lines[0].startswith(b"#EXTM3U")
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if text == _CTRL_Z or _is_directive(line, folder, playlist=playlist):
            skipped.append(_decoded(text))
        elif text:
            kept.append((number, line))
    return kept, skipped


def _text(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a list file, without a byte order mark; `ListFileError` if they are not text."""
    name = os.fspath(path)
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD)
            form = binary_form(head)
            rest = b"" if form else read_most(file, _LARGEST)
    except OSError as error:
        advice = "; give a text file with one path per line" if error.errno == errno.EISDIR else ""
        raise ListFileError(f"list file {name!r}: cannot be read: {error.strerror}{advice}") from error
    except ValueError as error:
        raise ListFileError(f"list file {name!r}: cannot be read: {error}") from error
    if form is None and b"\0" in rest:
        form = "data with NUL bytes"
    if form is None and len(rest) == _LARGEST:
        form = f"more than {_LARGEST >> 30} GiB"
    if form:
        raise ListFileError(f"list file {name!r} is {form}; give a text file in UTF-8 with one path per line")
    return (head + rest).removeprefix(codecs.BOM_UTF8)


def _is_directive(line: bytes, folder: str, *, playlist: bool) -> bool:
    """Whether a line of a playlist names no file; in M3U, any line that begins with #."""
    if not line.startswith(b"#" if playlist else b"#EXT"):
        return False
    return not os.path.lexists(_place(_decoded(line.partition(b"\t")[0].rstrip(b" \r")), folder))


def _path_of(line: bytes, number: int, folder: str) -> str:
    """The path of one line: up to the first tab, without trailing blanks and carriage returns."""
    field = line.partition(b"\t")[0].rstrip(b"\r")
    path = field.rstrip(b" \r")
    if not path:
        raise ValueError(f"line {number}: no path before the tab; the path is the first column")
    if len(path) > _LONGEST:
        raise ValueError(f"line {number}: {len(path)} bytes, too long for a path; give one path per line")
    if b"\r" in path:
        raise ValueError(f"line {number}: carriage return inside the path; end lines with LF or CRLF")
    with_blanks = _decoded(field)
    if field != path and b"\r" not in field and os.path.lexists(_place(with_blanks, folder)):
        return _decoded(path) if os.path.lexists(_place(_decoded(path), folder)) else with_blanks
    return _decoded(path)


def _decoded(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")


# Finding the files


def locate(paths: Sequence[str], *, list_file: str | os.PathLike[str]) -> list[str]:
    """Locate the files of a list.

    Paths are taken as written, relative ones from the current directory. A relative path that does not
    exist there, but does from the list file's folder, is taken from that folder. If neither exists, the other
    Unicode form (NFC, NFD) is tried for each part of the path.

    Parameters
    ----------
    paths : sequence of str
        All paths of the list.
    list_file : path-like
        The list file.

    Returns
    -------
    list of str
        One location per path; for a missing file, the path itself.

    Raises
    ------
    ListFileError
        If none of the files can be opened: the list has another form, which the message names, or comes from
        another machine.
    """
    place = places_beside(list_file)
    places = [place(path) for path in paths]
    if paths and not any(map(_can_be_read, places)):
        raise ListFileError(
            f"list file {os.fspath(list_file)!r}: {_none_of(paths)} read (the first: {quoted(paths[0])}: "
            f"{_reason(places[0])}){_advice(list_file, place)}"
        )
    return places


def places_beside(list_file: str | os.PathLike[str]) -> Callable[[str], str]:
    """Make the function that `locate` applies to each path.

    Parameters
    ----------
    list_file : path-like
        The list file.

    Returns
    -------
    callable
        Takes a path of the list and returns the location of its file; for a missing file, the path.
    """
    folder = os.path.dirname(os.path.abspath(list_file))
    return lambda path: _place(path, folder)


def check_analysed(
    paths: Sequence[str],
    failures: Mapping[int, str],
    *,
    list_file: str | os.PathLike[str],
    share: tuple[int, int] = (1, 1),
) -> None:
    """Check that a list has at least one file that did not fail; its matrix would mean nothing otherwise.

    Parameters
    ----------
    paths : sequence of str
        All paths of the list, or of a shard. An empty shard is not a failure: a list may be shorter than the
        number of shards.
    failures : mapping of int to str
        Reasons, by index into `paths`.
    list_file : path-like
        The list file.
    share : pair of int
        Number of the shard, from 1, and how many there are.

    Raises
    ------
    ListFileError
        If all files failed.
    """
    if paths and len(failures) == len(paths):
        part = f", shard {share[0]} of {share[1]}" if share[1] > 1 else ""
        raise ListFileError(
            f"list file {os.fspath(list_file)!r}{part}: {_none_of(paths)} analysed "
            f"(the first: {quoted(paths[0])}: {failures[0]}); is it the right list?"
        )


def _none_of(paths: Sequence[str]) -> str:
    return "its only file cannot be" if len(paths) == 1 else f"none of its {len(paths)} files can be"


def _advice(list_file: str | os.PathLike[str], place: Callable[[str], str]) -> str:
    """The likely form of a list whose files do not exist, and what to do."""
    try:
        with open(list_file, "rb") as file:
            head = file.read(_HEAD).removeprefix(codecs.BOM_UTF8)
    except OSError:  # a pipe that was read already, or a file that has just gone
        head = b""
    lines = _decoded(head).replace("\r", "").split("\n")
    form = likely_form(lines, exists=lambda path: bool(path) and os.path.isfile(place(path)))
    return f"; {form}; give one plain path per line" if form else "; give paths as they are on this machine"


def _place(path: str, folder: str) -> str:
    beside = os.path.join(folder, path)
    places = [path] if os.path.isabs(path) else [path, beside]
    for place in places:
        if _is_there(place):
            return place
    for place in places:
        found = _in_other_form(place)
        if found is not None:
            return found
    return path


def _in_other_form(path: str) -> str | None:
    """The path of an existing file that differs only in its Unicode form, part by part."""
    if path.isascii():
        return None
    place = "/" if path.startswith("/") else ""
    for part in path.split("/"):
        forms = dict.fromkeys((part, unicodedata.normalize("NFC", part), unicodedata.normalize("NFD", part)))
        found = next((form for form in forms if _is_there(os.path.join(place, form) or ".")), None)
        if found is None:
            return None
        place = os.path.join(place, found)
    return place


def _is_there(path: str) -> bool:
    try:
        return os.path.lexists(path)
    except ValueError:  # a NUL, or what the file system's encoding lacks
        return False


def _can_be_read(path: str) -> bool:
    try:
        return stat.S_ISREG(os.stat(path).st_mode) and os.access(path, os.R_OK)
    except (OSError, ValueError):
        return False


def _reason(path: str) -> str:
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return "no such file"
    except (OSError, ValueError) as error:
        return (getattr(error, "strerror", None) or str(error)).lower()
    if stat.S_ISDIR(mode):
        return "is a folder"
    return "permission denied" if stat.S_ISREG(mode) else "is not a regular file"


# Numbering


def number_collection(
    collection: Sequence[str],
    queries: Sequence[str],
    *,
    places: tuple[Sequence[str], Sequence[str]] | None = None,
) -> Numbering:
    """Number the collection and find each query in it.

    A duplicate path keeps both lines. A query gets the first entry with its path as written or else, if
    places are given, the first entry that is the same file under another path. Queries that the
    collection lacks are appended to it, each once, in query-list order, so that the matrix has a column for
    every query. A path that both lists have must lead to the same file in both, or to a copy of it: a reader
    of the matrix has nothing but the path to find a query by. A file missing on one side is not compared.

    Parameters
    ----------
    collection, queries : sequence of str
        Paths as the lists have them.
    places : pair of sequences of str, optional
        Locations of the files of the collection and of the queries, from `locate`.

    Returns
    -------
    Numbering

    Raises
    ------
    ListFileError
        If a path leads to different files in the two lists.
    """
    if places:
        _check_alike(collection, queries, places)
    paths = list(collection)
    first: dict[str, int] = {}
    for position, path in enumerate(paths):
        first.setdefault(path, position)
    missing = any(query not in first for query in queries)
    same = _first_of_each_file(places[0]) if places and missing else {}
    renamed = 0
    for query, place in zip(queries, places[1] if places else itertools.repeat(None), strict=False):
        if query in first:
            continue
        file = _file_of(place) if place is not None else None
        renamed += file in same
        if file in same:
            first[query] = same[file]
            continue
        first[query] = len(paths)
        if file is not None:
            same[file] = len(paths)
        paths.append(query)
    positions = tuple(first[query] for query in queries)
    return Numbering(tuple(paths), positions, appended=len(paths) - len(collection), renamed=renamed)


def _check_alike(
    collection: Sequence[str], queries: Sequence[str], places: tuple[Sequence[str], Sequence[str]]
) -> None:
    """Raise `ListFileError` for a path that leads to different files in the two lists."""
    place_of = dict(zip(collection, places[0], strict=True))
    for query, place in dict(zip(queries, places[1], strict=True)).items():
        other = place_of.get(query, place)
        if other != place and _differ(other, place):
            raise ListFileError(
                f"{quoted(query)} is {quoted(other)} in the collection list and another file, "
                f"{quoted(place)}, in the query list; a matrix cannot tell them apart: give absolute paths"
            )


def _differ(place: str, other: str) -> bool:
    """Whether two files are there, and neither the same nor copies."""
    files = _file_of(place), _file_of(other)
    if None in files or files[0] == files[1]:
        return False
    try:
        return not filecmp.cmp(place, other, shallow=False)
    except OSError:  # of an unreadable file nobody knows that it is a copy
        return True


def _first_of_each_file(places: Sequence[str]) -> dict[tuple[int, int] | None, int]:
    """{device and inode: first position} of the files that exist."""
    same: dict[tuple[int, int] | None, int] = {}
    for position, place in enumerate(places):
        file = _file_of(place)
        if file is not None:
            same.setdefault(file, position)
    return same


def _file_of(place: str) -> tuple[int, int] | None:
    try:
        found = os.stat(place)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


# Warnings


def name_warnings(paths: Sequence[str]) -> list[str]:
    """Warn of names that a reader of the matrix would misread.

    The readers split at white space, and identify a track by its basename up to the first dot, ignoring
    case. They fail on a whole basename of fewer than 3 characters. In an ASCII locale, all bytes outside
    ASCII become one and the same character: two names that differ only in such bytes are one track to one
    reader, and an error to the other.

    Parameters
    ----------
    paths : sequence of str
        The numbered list.

    Returns
    -------
    list of str
        At most one line per kind, with examples and their numbers in the list.
    """
    stems = [_stem(path) for path in paths]
    blank = [i for i, path in enumerate(paths) if any(character.isspace() for character in path)]
    short = [i for i, path in enumerate(paths) if len(_whole_name(path)) < 3]
    alike = _alike(stems)
    foreign = [i for i, path in enumerate(paths) if not path.isascii()]
    garbled = [group for group in _alike(map(_garbled_stem, paths)) if len({stems[i] for i in group}) > 1]
    warnings = []
    if blank:
        warnings.append(f"{_paths(len(blank))} white space, at which readers split: {_show(paths, blank)}")
    if alike:
        warnings.append(
            f"{sum(map(len, alike))} paths share {len(alike)} basename(s) up to the first dot, ignoring "
            f"case, and readers take these for one track: {_show_groups(paths, alike)}"
        )
    if garbled:
        warnings.append(
            f"{sum(map(len, garbled))} paths differ up to the first dot only in characters outside ASCII: in "
            "an ASCII locale one reader takes them for one track, the other fails on them; rename these "
            f"files: {_show_groups(paths, garbled)}"
        )
    elif foreign:
        warnings.append(
            f"{_paths(len(foreign))} characters outside ASCII, which readers garble in an ASCII locale: "
            f"{_show(paths, foreign)}"
        )
    if short:
        warnings.append(
            f"{_paths(len(short))} a basename of fewer than 3 characters, on which readers fail: "
            f"{_show(paths, short)}"
        )
    return warnings


def _stem(path: str) -> str:
    """Basename up to its first dot, without case: what the readers identify a track by."""
    return path.rpartition("/")[2].partition(".")[0].casefold()


def _garbled_stem(path: str) -> str:
    """The stem as a reader in an ASCII locale sees it: one character for each byte outside ASCII."""
    name = path.rpartition("/")[2].partition(".")[0].encode("utf-8", "surrogateescape")
    return name.decode("ascii", "replace").lower()


def _whole_name(path: str) -> str:
    """Basename up to its first white space."""
    return next(iter(path.rpartition("/")[2].split()), "")


def _alike(stems: Iterable[str]) -> list[list[int]]:
    """Groups of positions with the same stem, for every stem that occurs more than once."""
    groups: dict[str, list[int]] = defaultdict(list)
    for position, stem in enumerate(stems):
        groups[stem].append(position)
    return [group for group in groups.values() if len(group) > 1]


def _paths(count: int) -> str:
    return "1 path has" if count == 1 else f"{count} paths have"


def _show_groups(paths: Sequence[str], groups: Sequence[Sequence[int]]) -> str:
    """The first groups, each with its first examples."""
    shown = "; ".join(_show(paths, group) for group in groups[:EXAMPLES])
    return shown + (f"; and {len(groups) - EXAMPLES} more names" if len(groups) > EXAMPLES else "")


def _show(paths: Sequence[str], positions: Sequence[int]) -> str:
    """The first examples, each with its 1-based number; `repr` keeps odd bytes printable."""
    shown = ", ".join(f"{quoted(paths[i])} ({i + 1})" for i in positions[:EXAMPLES])
    return shown + (f", and {len(positions) - EXAMPLES} more" if len(positions) > EXAMPLES else "")
