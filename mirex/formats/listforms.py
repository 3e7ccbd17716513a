"""What a list that is none may be: forms that people and programs write lists in, and we do not read.

A form is recognised where it holds for every line that was looked at. It only explains an error: whether a
list can be used is told by the files that it names.
"""

import codecs
import os
import re
import urllib.parse
from collections.abc import Callable, Sequence

LOOKED_AT = 100  # lines
_MAGIC = {
    b"RIFF": "audio (WAV)",
    b"fLaC": "audio (FLAC)",
    b"OggS": "audio (Ogg)",
    b"ID3": "audio (MP3)",
    b"\xff\xfb": "audio (MP3)",
    b"PK\x03\x04": "a ZIP archive or spreadsheet",
    b"\x1f\x8b": "gzip data",
    b"BZh": "bzip2 data",
    b"\xfd7zXZ": "xz data",
    b"%PDF": "a PDF document",
    b"SQLite": "a database",
}
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x19\x1b-\x1f\x7f]")
_QUOTES = "\"'`\u00ab\u2018\u201c\u201e"

Lines = Sequence[str]


def binary_form(head: bytes) -> str | None:
    """What the first bytes of a file are, if they are no text of one path per line; None for text.

    Parameters
    ----------
    head : bytes
        The beginning of the file, some kilobytes.

    Returns
    -------
    str or None
        The form, in a few words.
    """
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "text in UTF-16, with NUL bytes"
    for magic, form in _MAGIC.items():
        if head.startswith(magic) and (b"\0" in head or _CONTROL.search(head)):
            return form
    if b"\0" not in head:
        return None
    pairs = max(len(head) // 2, 1)
    if max(head[0::2].count(b"\0"), head[1::2].count(b"\0")) > 0.4 * pairs:
        return "text in UTF-16, with NUL bytes"
    if not _CONTROL.search(head.replace(b"\0", b"")):
        return "text with NUL bytes, as 'find -print0' ends paths"
    return "data with NUL bytes"


def likely_form(lines: Lines, *, exists: Callable[[str], bool]) -> str | None:
    """In what form a list is whose files cannot be found.

    Parameters
    ----------
    lines : sequence of str
        Its lines that are not blank, whole, without their ends.
    exists : callable
        Whether there is a file, not a folder, of a path.

    Returns
    -------
    str or None
        A sentence about every line, or about the file; None if no form fits.

    Examples
    --------
    >>> likely_form(['"/m/a.wav"', '"/m/b.wav"'], exists=lambda path: False)
    'every path begins with a quote'
    """
    lines = [line.rstrip() for line in lines[:LOOKED_AT] if line.strip()]
    if not lines:
        return None
    for form in (_document, _column, _decorated, _joined):
        found = form(lines, exists)
        if found:
            return found
    return None


def _document(lines: Lines, exists: Callable[[str], bool]) -> str | None:
    """Formats that mark themselves at their beginning, or on a line of their own."""
    first = lines[0].lstrip().lower()
    if any(re.match(r"q/r[\t ]", line.lower()) for line in lines):
        return "it is a distance matrix"
    if first.startswith("[playlist]"):
        return "it is a PLS playlist"
    if re.match(r"[\[{]\s*($|[\[{\"'\]}])", first):
        return "it is JSON"
    if first.startswith(("<?xml", "<!doctype", "<")):
        return "it is XML or HTML"
    if re.match(r"(---|- )", first) and (len(lines) == 1 or _all(r"---|\s*- |\s+\w|\w+:", lines)):
        return "it is YAML; every path begins with a dash"
    if any(re.match(r"\s*FILE \".+\" \w+$", line) for line in lines):
        return "it is a cue sheet"
    if _all(r"total \d+$|[-dl][-rwxsStT]{9}[.+@]?\s", lines):
        return "it is the output of 'ls -l'"
    return None


def _column(lines: Lines, exists: Callable[[str], bool]) -> str | None:
    """The path stands in another column, or is followed by others that no tab divides off."""
    for separator, name in (("\t", "tabs"), (",", "commas"), (";", "semicolons"), ("|", "vertical bars")):
        rows = [line.split(separator) for line in lines if separator in line]
        if not rows or len(rows) < 0.5 * len(lines):
            continue
        body = rows[1:] or rows  # the first may be a header
        for column in range(min(map(len, rows))):
            if column == 0 and separator == "\t":
                continue
            cells = [row[column].strip().strip(_QUOTES) for row in body]
            if any(exists(cell) for cell in cells) or all(_is_path(cell) for cell in cells):
                return f"its lines have columns with {name} between, and the path in column {column + 1}"
    if _all(r"[^,]+,[^,]+", lines) and not any(map(_is_path, lines)):
        return "its lines have columns with commas between"
    return None


def _decorated(lines: Lines, exists: Callable[[str], bool]) -> str | None:
    """Something stands around or instead of every plain path."""
    if all(line.lstrip()[0] in _QUOTES for line in lines):
        return "every path begins with a quote"
    patterns = {
        r"\s*[(\[]?\d+\s*[.):\]]\s*\S": "every path has a number before it",
        r"\s*\d+\s+\S": "every path has a number before it",
        r"\s*[-*\u2022+]\s+\S": "every path has a bullet before it",
        r"\s*[A-Za-z]:[\\/]": "every path is one of Windows (a drive letter)",
        r"\\\\|[^/]*\\[^/]*$": "every path has backslashes",
        r"\s*[A-Za-z][A-Za-z0-9+.-]+://?": "every path is a URL",
        r"file:": "every path is a URL",
        r"~": "every path begins with ~, which no shell expands here",
        r"\$|%\w+%": "every path begins with a variable, which no shell expands here",
        r"\s+\S": "every path begins with a blank",
        r"#": "every line begins with #",
        r"[\w ]+\s*=\s*\S": "every path has a name and = before it",
    }
    for pattern, form in patterns.items():
        if _all(pattern, lines):
            return form
    changes: dict[str, Callable[[str], str]] = {
        "its paths have backslashes, as for a shell": lambda path: re.sub(r"\\(.)", r"\1", path),
        "its paths have %xx in place of letters, as in a URL": urllib.parse.unquote,
        "its paths have quotes": lambda path: path.strip(_QUOTES),
        "its paths have blanks or other characters before them": lambda path: path.lstrip(" \u00a0\ufeff"),
    }
    for form, change in changes.items():
        if any(change(line) != line and exists(change(line)) for line in lines):
            return form
    return None


def _joined(lines: Lines, exists: Callable[[str], bool]) -> str | None:
    """Several paths on a line, or paths of folders only."""
    for separator, name in ((" ", "blanks"), (", ", "commas"), (",", "commas"), (";", "semicolons")):
        parts = lines[0].split(separator)
        if len(parts) > 1 and sum(exists(part.strip(_QUOTES)) for part in parts) > 1:
            return f"its lines hold several paths, with {name} between"
    if all(os.path.isdir(line) for line in lines):
        return "every path is a folder"
    if all(not line.startswith("/") for line in lines):
        return "its relative paths lead nowhere from the current directory nor from the list's folder"
    return None


def _all(pattern: str, lines: Lines) -> bool:
    return all(re.match(pattern, line) for line in lines)


def _is_path(text: str) -> bool:
    """Whether a field looks like a path of a recording: a slash, or an extension."""
    return "/" in text or re.search(r"\.[A-Za-z][A-Za-z0-9]{1,4}$", text) is not None
