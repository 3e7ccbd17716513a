"""Recognise the form of a list that is unusable here, although people or programs write such lists.

A form is recognised if it fits every line examined. It only explains an error: whether a list can be
used depends on the files that it names.
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
    """Recognise the first bytes of a file that is not a text with one path per line.

    Parameters
    ----------
    head : bytes
        The beginning of the file, some kilobytes.

    Returns
    -------
    str or None
        The form, in a few words; None for text.
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
        return "text with NUL bytes, such as 'find -print0' writes"
    return "data with NUL bytes"


def likely_form(lines: Lines, *, exists: Callable[[str], bool]) -> str | None:
    """Recognise the form of a list whose files cannot be found.

    Parameters
    ----------
    lines : sequence of str
        Its complete lines without line ends, except blank ones.
    exists : callable
        Whether a path is that of an existing file, not a folder.

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
    """Formats that are marked at their beginning, or on a line of their own."""
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
    """The path is in another column, or further columns follow it that no tab separates."""
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
                return f"its columns are separated by {name}, and the path is in column {column + 1}"
    if _all(r"[^,]+,[^,]+", lines) and not any(map(_is_path, lines)):
        return "its columns are separated by commas"
    return None


def _decorated(lines: Lines, exists: Callable[[str], bool]) -> str | None:
    """Something surrounds or replaces every plain path."""
    if all(line.lstrip()[0] in _QUOTES for line in lines):
        return "every path begins with a quote"
    patterns = {
        r"\s*[(\[]?\d+\s*[.):\]]\s*\S": "every path has a number before it",
        r"\s*\d+\s+\S": "every path has a number before it",
        r"\s*[-*\u2022+]\s+\S": "every path has a bullet before it",
        r"\s*[A-Za-z]:[\\/]": "every path is a Windows path (it has a drive letter)",
        r"\\\\|(?=[^/\\]*\\)[^/]*$": "every path has backslashes",
        r"\s*[A-Za-z][A-Za-z0-9+.-]+://?": "every path is a URL",
        r"file:": "every path is a URL",
        r"~": "every path begins with ~, which is not expanded here",
        r"\$|%\w+%": "every path begins with a variable, which is not expanded here",
        r"\s+\S": "every path begins with a blank",
        r"#": "every line begins with #",
        r"[\w \t]+=\s*\S": "every path has a name and = before it",
    }
    for pattern, form in patterns.items():
        if _all(pattern, lines):
            return form
    changes: dict[str, Callable[[str], str]] = {
        "its paths are escaped with backslashes, as for a shell": lambda path: re.sub(r"\\(.)", r"\1", path),
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
            return f"its lines have several paths, separated by {name}"
    if all(os.path.isdir(line) for line in lines):
        return "every path is a folder"
    if all(not line.startswith("/") for line in lines):
        return "its relative paths exist neither in the current directory nor in the list's folder"
    return None


def _all(pattern: str, lines: Lines) -> bool:
    return all(re.match(pattern, line) for line in lines)


def _is_path(text: str) -> bool:
    """Whether a field looks like a path of a recording: a slash, or an extension."""
    return "/" in text or re.search(r"\.[A-Za-z][A-Za-z0-9]{1,4}$", text) is not None
