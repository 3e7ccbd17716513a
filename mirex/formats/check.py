"""Check a matrix against the format as its strictest readers parse it, line by line.

The organisers have two readers, NEMA and the older M2K, and they differ. An error is anything that either
of them rejects or misreads: M2K reads `nan` and a decimal comma as 0.0, the best possible match; NEMA ranks
-0.0 before the query itself. A warning is a departure from the format that both accept, or a name that a
reader would misread.
"""

import codecs
import dataclasses
import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import BinaryIO, Literal

import numpy as np

from mirex.errors import MatrixFormatError
from mirex.formats.filelist import name_warnings, number_collection
from mirex.formats.matrix import (
    PathLike,
    chomp,
    is_header,
    numbers_columns,
    parse_label,
    parse_name,
    parse_number,
    parse_values,
    read_line,
    tabbed,
)

SHOWN = 5  # violations of one kind that are listed one by one

Severity = Literal["error", "warning"]


@dataclasses.dataclass(frozen=True)
class Violation:
    """One departure from the format.

    Attributes
    ----------
    line : int
        From 1.
    message : str
        What is wrong.
    severity : {"error", "warning"}
        As defined above.
    """

    line: int
    message: str
    severity: Severity = "error"


def violations(
    path: PathLike,
    *,
    queries: Sequence[str] | None = None,
    place: Callable[[str], str] | None = None,
) -> list[Violation]:
    """List every violation in a matrix, in the order of its lines.

    For each kind of violation the first 5 are listed, and one more entry counts the rest. The file is
    streamed.

    Parameters
    ----------
    path : path-like
        The matrix.
    queries : sequence of str, optional
        The paths of the query list, to check the rows against (M2K takes the rows in that order, whatever
        their labels).
    place : callable, optional
        Gives the location of a path's file, so that a query may have another path in the matrix. By default
        paths are compared as written.

    Returns
    -------
    list of Violation
        Empty for a perfect file.

    Raises
    ------
    MatrixFormatError
        If the file cannot be read at all.
    """
    checker = _Checker()
    try:
        with open(path, "rb") as file:
            checker.check(file)
    except OSError as error:
        raise MatrixFormatError(f"matrix {os.fspath(path)!r}: cannot be read: {error.strerror}") from error
    if queries is not None:
        checker.check_queries(queries, place)
    return checker.findings.in_order()


class _Findings:
    """Collects violations: the first `SHOWN` of each kind, and a count of the others."""

    def __init__(self) -> None:
        self._listed: list[Violation] = []
        self._counts: Counter[tuple[Severity, str]] = Counter()
        self._last: dict[tuple[Severity, str], int] = {}

    def add(self, line: int, kind: str, detail: str = "", *, severity: Severity = "error") -> None:
        key = (severity, kind)
        self._counts[key] += 1
        self._last[key] = line
        if self._counts[key] <= SHOWN:
            self._listed.append(Violation(line, f"{kind}: {detail}" if detail else kind, severity))

    def in_order(self) -> list[Violation]:
        rest = [
            Violation(self._last[key], f"{key[1]}: {count - SHOWN} more, of which this is the last", key[0])
            for key, count in self._counts.items()
            if count > SHOWN
        ]
        return sorted(self._listed + rest, key=lambda violation: violation.line)


class _Checker:
    """Reads a matrix once, from the first line to the last."""

    def __init__(self) -> None:
        self.findings = _Findings()
        self._names: list[str] = []
        self._rows: list[tuple[int, int | None]] = []  # line, and label if it can be one
        self._labels: set[int] = set()
        self._past_header = False
        self._line = 1

    def check(self, file: BinaryIO) -> None:
        last = b""
        for self._line in itertools.count(1):
            try:
                raw = read_line(file, columns=len(self._names))
            except ValueError as error:
                self._error("line too long", f"{error}; the rest is not read")
                return
            if not raw:
                self._line = max(1, self._line - 1)
                break
            last = raw
            self._check_ending(raw)
            text = chomp(raw, tab=self._line > 1)
            if self._line == 1:
                self._check_system(text)
            elif not text.strip():
                self._error("blank line", "NEMA fails on it")
            elif is_header(text):
                self._check_header(text)
            elif self._past_header:
                self._check_row(text)
            else:
                self._check_name(text)
        self._check_end(last)

    def check_queries(self, queries: Sequence[str], place: Callable[[str], str] | None) -> None:
        """Check that the rows are labelled with the queries' positions, in the order of the query list.

        Parameters
        ----------
        queries : sequence of str
            Lines of the query list.
        place : callable or None
            Turns a path into its location; None: paths are compared as written.
        """
        places = ([*map(place, self._names)], [*map(place, queries)]) if place else None
        positions = number_collection(self._names, queries, places=places).query_positions
        if len(positions) != len(self._rows):
            self._error("number of rows", f"{len(self._rows)} rows for {len(positions)} queries")
        for row, (position, (line, label)) in enumerate(zip(positions, self._rows, strict=False)):
            if position >= len(self._names):
                self.findings.add(line, "query missing from the numbered list", repr(queries[row]))
            elif label != position + 1:
                detail = (
                    f"query {row + 1} of the query list is number {position + 1}, but the row says {label}"
                )
                self.findings.add(line, "row out of query-list order", detail)

    def _error(self, kind: str, detail: str = "") -> None:
        self.findings.add(self._line, kind, detail)

    def _warn(self, kind: str, detail: str = "") -> None:
        self.findings.add(self._line, kind, detail, severity="warning")

    def _check_ending(self, raw: bytes) -> None:
        if raw.endswith(b"\r\n"):
            self._warn("line ends with CRLF instead of LF")
        if self._line > 1 and raw.rstrip(b"\r\n").endswith(b"\t") and raw.strip():
            self._warn("trailing tab")

    def _check_system(self, text: bytes) -> None:
        if text.startswith(codecs.BOM_UTF8):
            self._warn("byte order mark")
        if not text.removeprefix(codecs.BOM_UTF8).strip():
            self._error("blank line", "the first line is the system's name")

    def _check_name(self, text: bytes) -> None:
        number = len(self._names) + 1
        if b"\t" not in text:
            self._error("blank instead of a tab", "M2K fails on it")
        try:
            name = parse_name(text, number=number)
        except ValueError as error:
            self._error("numbered list", str(error))
            name = text.partition(b"\t")[2].partition(b"\t")[0]  # the lines after it keep their numbers
        self._names.append(name.decode("utf-8", "surrogateescape"))

    def _check_header(self, text: bytes) -> None:
        if self._past_header:
            self._error("second Q/R line", "both readers fail on it")
            return
        self._past_header = True
        if not text.startswith(b"Q/R"):
            self._warn("Q/R in lower case")
        if b" " in text:
            self._error("blank instead of a tab", "M2K fails on it")
        if not numbers_columns(text, len(self._names)):
            self._error("Q/R line", f"must number the columns 1 to {len(self._names)}")
        if not self._names:
            self._error("numbered list", "no numbered path before the Q/R line")
        for message in name_warnings(self._names):
            self.findings.add(2, "names", message, severity="warning")

    def _check_row(self, text: bytes) -> None:
        if b" " in text:
            self._error("blank instead of a tab", "M2K fails on it")
            text = tabbed(text)
        field, _, body = text.partition(b"\t")
        label = self._check_label(field)
        try:
            values = parse_values(body, columns=len(self._names))
        except ValueError as error:
            self._check_fields(body.split(b"\t") if body else [], str(error))
            return
        self._check_signs(values)
        if label is not None and values[label - 1] != 0:
            detail = f"query {label} is {values[label - 1]} from itself"
            self._error("distance to itself is not 0", detail)

    def _check_label(self, field: bytes) -> int | None:
        label = None
        try:
            label = parse_label(field, columns=len(self._names))
        except ValueError as error:
            self._error("row label", f"{error}; NEMA fails on it")
        if label in self._labels:
            self._warn("second row of a query", f"number {label}")
        if label is not None:
            self._labels.add(label)
        self._rows.append((self._line, label))
        return label

    def _check_signs(self, values: np.ndarray) -> None:
        signed = np.flatnonzero(np.signbit(values))
        if len(signed):
            detail = f"NEMA ranks it before the query itself: {_columns(signed + 1)}"
            self._error("value below 0 or -0", detail)

    def _check_fields(self, fields: Sequence[bytes], message: str) -> None:
        """Report what is wrong with a row whose values could not be parsed."""
        if len(fields) != len(self._names):
            self._error("number of values", f"{message}; both readers fail on it")
        commas = [column for column, field in enumerate(fields, 1) if b"," in field]
        odd = [
            column for column, field in enumerate(fields, 1) if b"," not in field and not _is_finite(field)
        ]
        if commas:
            self._error("decimal comma", f"M2K reads 0.0, the best match: {_columns(commas)}")
        if odd:
            self._error("not a finite number", f"M2K reads 0.0, the best match: {_columns(odd)}")

    def _check_end(self, raw: bytes) -> None:
        if not raw:
            self._error("empty file")
        elif not raw.endswith(b"\n"):
            self._warn("no newline at the end")
        if not self._past_header:
            self._error("no Q/R line")
        elif not self._rows:
            self._error("no row after the Q/R line")


def _is_finite(field: bytes) -> bool:
    try:
        return bool(abs(parse_number(field, column=0)) <= float(np.finfo(np.float32).max))
    except ValueError:
        return False


def _columns(columns: Iterable[int]) -> str:
    """Name the first column, and count the others."""
    found = list(columns)
    return f"column {found[0]}" + (f" and {len(found) - 1} more" if len(found) > 1 else "")
