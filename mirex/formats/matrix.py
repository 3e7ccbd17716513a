"""The MIREX distance matrix file: written exactly, read as tolerantly as the organisers' readers do.

    <one line of free text: the system's name>LF
    1<TAB><path exactly as in the list>LF             ... to N
    Q/R<TAB>1<TAB>2<TAB>...<TAB>NLF
    <p><TAB><d(p,1)><TAB>...<TAB><d(p,N)>LF           one row per query, in query-list order

`p` is the query's 1-based position in the numbered list. Distances are written with `%.8f`, which
keeps the order of float32 values (`%.5f` merges 37 % of them). In Python, positions are 0-based.
Files are streamed in both directions: memory holds a block of rows, never the whole text. Text is UTF-8
with `surrogateescape`, so that paths in another encoding keep their bytes.
"""

import codecs
import dataclasses
import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from mirex.errors import MatrixFormatError
from mirex.files import appearing_whole

# Values below 10 all have the form "d.dddddddd" and a separator. A row of such fields is formatted
# and parsed as one array, tens of times faster than value by value.
_FIELD = len("d.dddddddd\t")
_FOUR_DIGITS = np.array([f"{number:04d}" for number in range(10_000)], dtype="S4").view(np.uint32)
_PIECE = 16384  # values formatted at once: few enough for the cache, enough to be worth the calls
_WRITTEN_AT_ONCE = 1 << 20  # bytes
_TEMPLATE_FROM = 9.0  # from here on a value might be rounded up to 10.00000000
_MOST_DIGITS = 15  # whole numbers with this many digits are exact in float64
_LONGEST_LINE = 1 << 16  # bytes; a path has at most 4,096
_LONGEST_VALUE = 64  # bytes, with what precedes it

PathLike = str | os.PathLike[str]
Rows = np.ndarray | Iterable[np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Matrix:
    """A whole matrix.

    Attributes
    ----------
    system : str
        The first line.
    names : tuple of str
        The N numbered paths.
    query_positions : int64 [q]
        Positions of the rows' queries in `names`, from 0.
    distances : float32 [q, N]
        From each query to each recording.
    """

    system: str
    names: tuple[str, ...]
    query_positions: np.ndarray
    distances: np.ndarray


@dataclasses.dataclass(frozen=True)
class MatrixFile:
    """A matrix file of which only the head has been read; `rows` streams the rest.

    Attributes
    ----------
    path : Path
        The file.
    system : str
        The first line.
    names : tuple of str
        The N numbered paths.
    offset : int
        The byte where the rows begin.
    first_line : int
        The line where the rows begin, from 1.
    """

    path: Path
    system: str
    names: tuple[str, ...]
    offset: int
    first_line: int

    def rows(self, *, block: int = 256) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Read the rows in blocks, in file order.

        Parameters
        ----------
        block : int
            Rows at a time, at most.

        Yields
        ------
        query_positions : int64 [b]
            Positions in `names`, from 0; b is at most `block`.
        distances : float32 [b, N]

        Raises
        ------
        MatrixFormatError
            If a row cannot be parsed; the message has its line.
        """
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            yield from _row_blocks(file, self, block)


def open_matrix(path: PathLike) -> MatrixFile:
    """Open a matrix to read its rows in blocks: read its head (system, names, Q/R line).

    Parameters
    ----------
    path : path-like
        The matrix.

    Returns
    -------
    MatrixFile

    Raises
    ------
    MatrixFormatError
        If the file cannot be read, or its head cannot be parsed; the message has the line.
    """
    try:
        with open(path, "rb") as file:
            return _read_head(file, Path(path))
    except OSError as error:
        raise MatrixFormatError(f"matrix {os.fspath(path)!r}: cannot be read: {error.strerror}") from error


def read_matrix(path: PathLike) -> Matrix:
    """Read a whole matrix.

    Accepted, because the organisers' readers accept it too: CRLF, no final newline, a trailing tab,
    `q/r`, blanks instead of tabs, rows in any order, blank lines at the end, a byte order mark,
    values below 0. `mirex.formats.check.violations` lists what a strict reader would reject.

    Parameters
    ----------
    path : path-like
        The matrix.

    Returns
    -------
    Matrix

    Raises
    ------
    MatrixFormatError
        If the file cannot be read, or violates the format in any other way; the message has the line.
    """
    head = open_matrix(path)
    capacity = _most_rows(head)
    positions = np.empty(capacity, np.int64)
    distances = np.empty((capacity, len(head.names)), np.float32)
    filled = 0
    for block_positions, block in head.rows():
        positions[filled : filled + len(block)] = block_positions
        distances[filled : filled + len(block)] = block
        filled += len(block)
    return Matrix(head.system, head.names, positions[:filled], distances[:filled])


def write_matrix(
    path: PathLike,
    *,
    names: Sequence[str],
    query_positions: Sequence[int] | np.ndarray,
    rows: Rows,
    system: str = "mirex",
) -> None:
    """Write a matrix; the file appears whole or not at all.

    On an error nothing is left behind, and an older file of that name stays as it was.

    Parameters
    ----------
    path : path-like
        The file to write.
    names : sequence of str
        The N numbered paths.
    query_positions : sequence of int, or int [q]
        Positions of the queries in `names`, from 0, in query-list order.
    rows : float32 [q, N], or iterable of float32 [b, N]
        An iterable gives consecutive blocks, as `mirex.retrieval.distance.rows` yields them. Distances are
        finite, 0 or more, and exactly 0 for the query itself.
    system : str
        The first line.

    Raises
    ------
    MatrixFormatError
        If the result would violate the format.
    OSError
        If it cannot be written.
    """
    positions = _checked_positions(query_positions, len(names))
    head = _head(names, system)
    formatter = _Formatter()
    with (
        appearing_whole(path, sync=True) as temporary,
        open(temporary, "xb", buffering=_WRITTEN_AT_ONCE) as file,
    ):
        file.write(head)
        for position, row in _checked_rows(rows, positions, columns=len(names)):
            file.write(b"%d" % (position + 1))
            for start in range(0, len(row), _PIECE):
                file.write(b"\t")
                file.write(formatter.text(row[start : start + _PIECE]))
            file.write(b"\n")


# Writing


def _head(names: Sequence[str], system: str) -> bytes:
    """The lines before the rows."""
    lines = [_encode(system, "system", forbidden="\n\r\ufeff")]
    lines += [
        b"%d\t%b" % (number, _encode(name, "name", forbidden="\t\n\r"))
        for number, name in enumerate(names, 1)
    ]
    lines.append(b"\t".join([b"Q/R", *(b"%d" % number for number in range(1, len(names) + 1))]))
    return b"\n".join(lines) + b"\n"


def _encode(text: str, what: str, *, forbidden: str) -> bytes:
    if not text.strip():
        raise MatrixFormatError(f"the {what} {text!r} is blank; a matrix has no blank lines or names")
    if any(character in text for character in forbidden):
        raise MatrixFormatError(f"the {what} {text!r} contains one of {forbidden!r}; a matrix cannot hold it")
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise MatrixFormatError(f"the {what} {text!r} cannot be written as UTF-8: {error.reason}") from error


def _checked_positions(query_positions: Sequence[int] | np.ndarray, count: int) -> np.ndarray:
    positions = np.asarray(query_positions, dtype=np.int64)
    if positions.ndim != 1 or not len(positions):
        raise MatrixFormatError("a matrix needs at least one query")
    outside = positions[(positions < 0) | (positions >= count)]
    if len(outside):
        raise MatrixFormatError(f"query position {outside[0]} is not one of the {count} names (0-based)")
    return positions


def _checked_rows(rows: Rows, positions: np.ndarray, *, columns: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each query's position and row; raise an error if they do not make a valid matrix."""
    count = 0
    for block in [rows] if isinstance(rows, np.ndarray) else rows:
        if block.ndim != 2 or block.shape[1] != columns or count + len(block) > len(positions):
            raise MatrixFormatError(
                f"rows of shape {list(block.shape)} after {count} rows do not fit "
                f"a matrix of {len(positions)} queries x {columns} names"
            )
        for values in block:
            position = int(positions[count])
            row = np.asarray(values, dtype=np.float32)
            _check_row(row, position)
            yield position, row
            count += 1
    if count != len(positions):
        raise MatrixFormatError(f"{count} rows for {len(positions)} queries")


def _check_row(row: np.ndarray, position: int) -> None:
    # NaN fails both comparisons, so one test finds it, the infinities and negative values.
    if not (row.min() >= 0 and row.max() < np.inf):
        column = int(np.flatnonzero(~((row >= 0) & (row < np.inf)))[0])
        raise MatrixFormatError(
            f"distance {row[column]} of query {position + 1} to {column + 1}: "
            "distances are finite and 0 or more"
        )
    if row[position] != 0:
        raise MatrixFormatError(
            f"query {position + 1} is {row[position]} from itself; that distance must be exactly 0 "
            "(pass query_positions to mirex.distance_matrix)"
        )


def format_values(values: np.ndarray) -> bytes:
    """Format values as `%.8f`, separated by tabs.

    Parameters
    ----------
    values : float32 [n]
        Finite, 0 or more.

    Returns
    -------
    bytes
    """
    formatter = _Formatter()
    pieces = (values[start : start + _PIECE] for start in range(0, len(values), _PIECE))
    return b"\t".join(bytes(formatter.text(piece)) for piece in pieces)


class _Formatter:
    """Formats pieces of rows, reusing the same memory.

    A field is written as its first five digits, with the point, then the other four. Each part is looked up
    as one number of 8 or 4 bytes and stored where it belongs. The tabs in between are there from the start.
    """

    def __init__(self) -> None:
        self._text = np.full(_PIECE * _FIELD, ord("\t"), np.uint8)
        beginnings, endings = (
            np.ndarray((_PIECE,), dtype, self._text[offset:], strides=(_FIELD,))
            for dtype, offset in ((np.uint64, 0), (np.uint32, len("d.dddd")))
        )
        self._fields = beginnings, endings
        self._scaled = np.empty(_PIECE, np.float64)
        self._first, self._last = np.empty((2, _PIECE), np.uint32)
        self._index = np.empty(_PIECE, np.intp)
        self._found = np.empty(_PIECE, np.uint64), np.empty(_PIECE, np.uint32)

    def text(self, values: np.ndarray) -> bytes | memoryview:
        """Format values as `%.8f`, separated by tabs.

        Parameters
        ----------
        values : float32 [values]
            At most _PIECE of them, 0 or more.

        Returns
        -------
        bytes or memoryview
            Valid until the next call.
        """
        if values.max() >= _TEMPLATE_FROM:
            template = "\t".join(["%.8f"] * len(values))
            return (template % tuple((values + np.float32(0)).tolist())).encode("ascii")
        count = len(values)
        scaled, first, last = self._scaled[:count], self._first[:count], self._last[:count]
        # Exact: 24 bits of a float32 times the 19 bits of 1e8's odd part fit the 53 of a float64. From 2^52
        # on there are only whole numbers: the sum is rounded to one, halves to even, as C's printf does, and
        # its last bits are that number. Adding 0 above, and this, turn -0.0 into 0.
        scaled[:] = values
        scaled *= 1e8
        scaled += 2.0**52
        np.copyto(last, scaled.view(np.int64), casting="unsafe")
        np.floor_divide(last, np.uint32(10_000), out=first)
        self._place(0, first, _FIVE_DIGITS)
        first *= np.uint32(10_000)
        last -= first
        self._place(1, last, _FOUR_DIGITS)
        return self._text[: count * _FIELD - 1].data

    def _place(self, part: int, numbers: np.ndarray, digits: np.ndarray) -> None:
        """Store the digits of numbers as the first (0) or last (1) part of the fields."""
        index, found = self._index[: len(numbers)], self._found[part][: len(numbers)]
        index[:] = numbers
        digits.take(index, out=found, mode="clip")  # no index is outside; unlike "raise" it needs no buffer
        self._fields[part][: len(numbers)] = found


def _five_digits() -> np.ndarray:
    """b"d.dddd" of 0 to 99,999, in uint64."""
    text = np.zeros((10, 10_000, 8), np.uint8)
    text[:, :, 0] = np.arange(ord("0"), ord("9") + 1)[:, None]
    text[:, :, 1] = ord(".")
    text[:, :, 2:6] = _FOUR_DIGITS.view(np.uint8).reshape(-1, 4)
    return text.view(np.uint64).ravel()


_FIVE_DIGITS = _five_digits()


# Reading


def _read_head(file: BinaryIO, path: Path) -> MatrixFile:
    names: list[str] = []
    try:
        system = chomp(read_line(file, columns=0).removeprefix(codecs.BOM_UTF8), tab=False)
    except ValueError as error:
        raise _error(path, 1, str(error)) from error
    for line, raw in _numbered(file, path, first=2, columns=lambda: len(names)):
        text = chomp(raw)
        if is_header(text):
            if not names:
                raise _error(path, line, "the Q/R line comes before any numbered path")
            if not numbers_columns(text, len(names)):
                raise _error(path, line, f"the Q/R line must number the columns 1 to {len(names)}")
            return MatrixFile(path, _decode(system), tuple(names), file.tell(), line + 1)
        try:
            names.append(_decode(parse_name(text, number=line - 1)))
        except ValueError as error:
            raise _error(path, line, str(error)) from error
    raise _error(path, len(names) + 1, "the file ends without a Q/R line")


def _row_blocks(file: BinaryIO, head: MatrixFile, block: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    columns = len(head.names)
    positions: list[int] = []
    rows: list[np.ndarray] = []
    blank = last = 0  # lines: the first blank one, the last one with values
    for line, raw in _numbered(file, head.path, first=head.first_line, columns=lambda: columns):
        text = chomp(raw)
        if not text.strip():
            blank = blank or line
            continue
        if blank:
            raise _error(head.path, blank, "blank line between the rows")
        try:
            label, values = parse_row(text, columns=columns)
        except ValueError as error:
            raise _error(head.path, line, str(error)) from error
        last = line
        positions.append(label - 1)
        rows.append(values)
        if len(rows) == block:
            yield np.array(positions, np.int64), np.stack(rows)
            positions, rows = [], []
    if not last:
        raise _error(head.path, head.first_line, "no row follows the Q/R line")
    if rows:
        yield np.array(positions, np.int64), np.stack(rows)


def _numbered(
    file: BinaryIO, path: Path, *, first: int, columns: Callable[[], int]
) -> Iterator[tuple[int, bytes]]:
    """The following lines, each with its number."""
    for line in itertools.count(first):
        try:
            raw = read_line(file, columns=columns())
        except ValueError as error:
            raise _error(path, line, str(error)) from error
        if not raw:
            return
        yield line, raw


def _most_rows(head: MatrixFile) -> int:
    """An upper bound on the number of rows, so that they can be read into one array."""
    with open(head.path, "rb") as file:
        file.seek(head.offset)
        lines = 1 + sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))
        # Each value takes two bytes at least.
        return min(lines, 1 + (file.tell() - head.offset) // (2 * len(head.names)))


def _error(path: Path, line: int, message: str) -> MatrixFormatError:
    return MatrixFormatError(f"matrix {os.fspath(path)!r}, line {line}: {message}")


def _decode(text: bytes) -> str:
    return text.decode("utf-8", "surrogateescape")


# The grammar of single lines, shared with `mirex.formats.check`. These raise ValueError without a line.


def read_line(file: BinaryIO, *, columns: int) -> bytes:
    """Read the next line, unless it is too long for a matrix.

    Parameters
    ----------
    file : binary file
        Open for reading.
    columns : int
        How many names the matrix has so far.

    Returns
    -------
    bytes
        With its end; empty at the end of the file.

    Raises
    ------
    ValueError
        If it is too long.
    """
    most = _LONGEST_LINE + _LONGEST_VALUE * columns
    line = file.readline(most)
    if len(line) == most and not line.endswith(b"\n"):
        raise ValueError(f"line of more than {most} bytes, too long for a matrix of {columns} names")
    return line


def numbers_columns(text: bytes, count: int) -> bool:
    """Whether a Q/R line numbers the columns from 1 to `count`.

    Parameters
    ----------
    text : bytes
        The line, without its end.
    count : int
        How many names there are.

    Returns
    -------
    bool
    """
    numbers = tabbed(text).partition(b"\t")[2]
    return numbers == b"\t".join(b"%d" % number for number in range(1, count + 1))


def tabbed(text: bytes) -> bytes:
    """Separate a line's words by single tabs, without an object for each of what may be millions.

    Parameters
    ----------
    text : bytes
        The line, without its end.

    Returns
    -------
    bytes
    """
    return re.sub(rb"\s+", b"\t", text.strip())


def chomp(raw: bytes, *, tab: bool = True) -> bytes:
    """Strip the end of a line.

    Parameters
    ----------
    raw : bytes
        The line, with LF, CRLF or neither.
    tab : bool
        Also strip one trailing tab.

    Returns
    -------
    bytes
    """
    text = raw.removesuffix(b"\n").removesuffix(b"\r")
    return text.removesuffix(b"\t") if tab else text


def is_header(text: bytes) -> bool:
    """Whether a line is the Q/R line, in upper or lower case, with tabs or blanks.

    Parameters
    ----------
    text : bytes
        The line.

    Returns
    -------
    bool
    """
    return text[:3].lower() == b"q/r" and text[3:4] in (b"", b"\t", b" ")


def parse_name(text: bytes, *, number: int) -> bytes:
    """Parse a line of the numbered list.

    Parameters
    ----------
    text : bytes
        The line, without its end.
    number : int
        The number that the line should have, from 1.

    Returns
    -------
    bytes
        The path.

    Raises
    ------
    ValueError
        If the line is blank, has another number or no path, or has a tab inside the path.
    """
    if not text.strip():
        raise ValueError("blank line in the list")
    label, _, name = text.partition(b"\t") if b"\t" in text else text.partition(b" ")
    if not label.isdigit() or int(label) != number:
        raise ValueError(f"expected '{number}<tab>path' or the Q/R line, found {text[:60]!r}")
    if not name:
        raise ValueError(f"number {number} has no path")
    if b"\t" in name:
        raise ValueError(f"tab inside the path of number {number}")
    return name


def parse_row(text: bytes, *, columns: int) -> tuple[int, np.ndarray]:
    """Parse a row, with tabs or blanks between its fields.

    Parameters
    ----------
    text : bytes
        The line, without its end.
    columns : int
        How many values there must be.

    Returns
    -------
    label : int
        From 1.
    values : float32 [columns]

    Raises
    ------
    ValueError
        If it is a second Q/R line, and as for `parse_label` and `parse_values`.
    """
    if is_header(text):
        raise ValueError("second Q/R line")
    if b"\t" not in text:
        text = tabbed(text)
    label, _, body = text.partition(b"\t")
    return parse_label(label, columns=columns), parse_values(body, columns=columns)


def parse_label(label: bytes, *, columns: int) -> int:
    """Parse the label of a row.

    Parameters
    ----------
    label : bytes
        The row's first field.
    columns : int
        The largest possible label.

    Returns
    -------
    int
        From 1.

    Raises
    ------
    ValueError
        If it is not a whole number from 1 to `columns`.
    """
    if not label.isdigit() or not 1 <= int(label) <= columns:
        raise ValueError(f"row label {label[:60]!r} is not the query's number in the list, 1 to {columns}")
    return int(label)


def parse_values(body: bytes, *, columns: int) -> np.ndarray:
    """Parse tab-separated decimal numbers.

    Parameters
    ----------
    body : bytes
        The row after its label.
    columns : int
        How many values there must be.

    Returns
    -------
    float32 [columns]

    Raises
    ------
    ValueError
        If there are more or fewer, or one is not a number or not finite.
    """
    found = body.count(b"\t") + 1 if body else 0
    if found != columns:
        raise ValueError(f"expected {columns} values, found {found}")
    values = _parse_fixed(body)
    return _parse_any(body) if values is None else values


def _parse_fixed(body: bytes) -> np.ndarray | None:
    """The values if all have one digit, a point, and the same number of digits after it, else None."""
    width = (body + b"\t").index(b"\t") + 1
    if not 4 <= width <= _MOST_DIGITS + 2 or (len(body) + 1) % width:
        return None
    text = np.frombuffer(body + b"\t", np.uint8).reshape(-1, width)
    digits = np.delete(text, [1, width - 1], axis=1) - np.uint8(ord("0"))  # wraps to over 9 below "0"
    if digits.max() > 9 or np.any(text[:, 1] != ord(".")) or np.any(text[:, -1] != ord("\t")):
        return None
    decimals = width - 3
    return (digits @ 10.0 ** np.arange(decimals, -1, -1) / 10.0**decimals).astype(np.float32)


def _parse_any(body: bytes) -> np.ndarray:
    fields = body.split(b"\t")
    try:
        if b"_" in body:
            raise ValueError("digit grouping")
        exact = np.array([*map(float, body.decode("ascii").split("\t"))])
    except ValueError:
        exact = np.array([parse_number(field, column=column) for column, field in enumerate(fields, 1)])
    with np.errstate(over="ignore"):  # beyond float32: infinite, and rejected as such
        values = exact.astype(np.float32)
    if not np.isfinite(values).all():
        column = int(np.flatnonzero(~np.isfinite(values))[0]) + 1
        raise ValueError(f"column {column}: {fields[column - 1][:60]!r} is not a finite number")
    return values


def parse_number(field: bytes, *, column: int) -> float:
    """Parse one value; unlike `float`, reject digit grouping (1_000).

    Parameters
    ----------
    field : bytes
        The value as written.
    column : int
        Its column, from 1, for the message.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If it is not a number.
    """
    try:
        if b"_" not in field:
            return float(field)
    except ValueError:
        pass
    hint = " (decimal comma)" if b"," in field else ""
    raise ValueError(f"column {column}: {field[:60]!r} is not a number{hint}")
