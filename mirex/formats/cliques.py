"""Cliques file: which recordings are versions of the same work.

One line per recording, `path<TAB>clique`, UTF-8, no header::

    /data/audio/yesterday_beatles.wav<TAB>yesterday
    /data/audio/yesterday_ray.wav<TAB>yesterday

Conventions:

* Paths are written as in the matrix. A BOM, CRLF, blank lines, trailing blanks and further tab columns
  are tolerated. A line that begins with `#` and has no second column, or no path in the first, is a comment.
* Any other line that begins with `#` gives a clique to a path that begins with `#`; or it has been commented
  out: `#/data/a.wav<TAB>x`. It applies to exactly that path, and to its base name only if that begins with
  `#`, so that it gives no other recording a clique.
* A recording has one clique. Repeating a path with the same clique is accepted; with another it is an error.
* A path of the matrix that is not in the file is looked up by its base name (the part after the last `/`),
  but only if that is unambiguous: one path of the file has that base name, and one path of the matrix.
* A path found neither way has no clique. As a reference it is a cover of nothing; as a query it is left out
  of the evaluation and counted.
"""

import dataclasses
import pathlib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from mirex.errors import EvaluationError
from mirex.untrusted import quoted, read_most

NO_CLIQUE = -1
_HEAD, _LARGEST = 1 << 16, 1 << 28  # bytes: what tells text from other files; some million lines


@dataclasses.dataclass(frozen=True)
class Labels:
    """Cliques of a list of recordings.

    Attributes
    ----------
    numbers : int64 [n]
        Index into `names`, or `NO_CLIQUE`.
    names : tuple of str
        The cliques, in order of appearance.
    by_base_name : int
        How many recordings were found only by their base name.
    """

    numbers: np.ndarray
    names: tuple[str, ...]
    by_base_name: int

    def name(self, number: int) -> str:
        """Name a clique.

        Parameters
        ----------
        number : int
            Index into `names`, or `NO_CLIQUE`.

        Returns
        -------
        str
            "" for `NO_CLIQUE`.
        """
        return "" if number == NO_CLIQUE else self.names[number]


def read_cliques(path: str | pathlib.Path) -> dict[str, str]:
    """Read a cliques file.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    dict of str to str
        {path: clique}

    Raises
    ------
    EvaluationError
        If the file cannot be read or is malformed (the message has the line number), or its columns are
        swapped.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "cliques.tsv")
    ...     _ = path.write_text("# path and work\\na.wav\\tone\\nb.wav\\tone\\n")
    ...     read_cliques(path)
    {'a.wav': 'one', 'b.wav': 'one'}
    """
    text = _text(path)
    rows = [
        (number, *_fields(line, where=f"{path}, line {number}"))
        for number, line in enumerate(text.split("\n"), start=1)
        if line.strip() and not _is_comment(line)
    ]
    _check_columns([row[1:] for row in rows if not row[1].startswith("#")], path)
    cliques: dict[str, str] = {}
    for number, recording, clique in rows:
        if cliques.setdefault(recording, clique) != clique:
            raise EvaluationError(
                f"{path}, line {number}: {quoted(recording)} is in clique {quoted(clique)} here "
                f"but in {quoted(cliques[recording])} above; keep one of the two lines"
            )
    if not cliques:
        raise EvaluationError(f"{path}: the cliques file is empty; give lines of path<TAB>clique")
    return cliques


def _text(path: str | pathlib.Path) -> str:
    """A text file; an endless stream or a recording is rejected without reading all of it."""
    try:
        with open(path, "rb") as file:
            data = file.read(_HEAD)
            if b"\0" not in data:
                data += read_most(file, _LARGEST)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise EvaluationError(f"cliques file {path}: cannot be read: {reason}") from error
    if b"\0" in data:
        raise EvaluationError(
            f"{path} is not text (it has NUL bytes); give lines of path<TAB>clique in UTF-8"
        )
    if len(data) > _LARGEST:
        raise EvaluationError(f"{path}: larger than {_LARGEST >> 20} MB, so it is not a cliques file")
    text = data.decode("utf-8-sig", "surrogateescape")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _check_columns(rows: Sequence[tuple[str, str]], path: str | pathlib.Path) -> None:
    """`EvaluationError` if the first column looks like the cliques and the second like the paths.

    That is: only the second has paths; or an entry of the first has several in the second, where no entry
    is repeated, as is usual only for paths.
    """
    first, second = [row[0] for row in rows], [row[1] for row in rows]
    if not rows:
        return
    named = all(map(_is_path, second)) and not any(map(_is_path, first))
    counted = len(set(first)) < len(rows) == len(set(second)) and not all(map(_is_path, first))
    if named or counted:
        raise EvaluationError(
            f"{path}: the columns seem to be swapped: path {quoted(first[0])}, clique "
            f"{quoted(second[0])}; write the path first, then a tab and the clique"
        )


def _is_comment(line: str) -> bool:
    """Whether a line that begins with # is a comment: without a clique, or a title, "# path<TAB>clique"."""
    recording, _, rest = line.partition("\t")
    if not recording.startswith("#"):
        return False
    return not rest.strip() or (recording[1:2] in ("", " ") and not _is_path(recording.strip()))


def _is_path(text: str) -> bool:
    """Whether a field looks like a path of a recording: a slash, or an extension."""
    return "/" in text or re.search(r"\.[A-Za-z][A-Za-z0-9]{1,4}$", text) is not None


def _fields(line: str, *, where: str) -> tuple[str, str]:
    recording, _, rest = line.partition("\t")
    clique = rest.split("\t")[0].strip()
    recording = recording.rstrip()
    if not recording or not clique:
        raise EvaluationError(f"{where}: expected path<TAB>clique, found {quoted(line.strip())}")
    return recording, clique


def label(names: Sequence[str], *, cliques: Mapping[str, str]) -> Labels:
    """Look up the clique of every recording of a matrix.

    Parameters
    ----------
    names : sequence of str
        Paths as in the matrix.
    cliques : mapping of str to str
        {path: clique}, as `read_cliques` returns it.

    Returns
    -------
    Labels

    Examples
    --------
    >>> labels = label(["a/x.wav", "a/y.wav", "z.wav"], cliques={"a/x.wav": "one", "b/y.wav": "one"})
    >>> labels.numbers.tolist(), labels.names, labels.by_base_name
    ([0, 0, -1], ('one',), 1)
    """
    fallback = _unambiguous_base_names(names, cliques=cliques)
    found = [cliques.get(name, fallback.get(_base_name(name))) for name in names]
    order = {clique: number for number, clique in enumerate(dict.fromkeys(filter(None, found)))}
    numbers = [NO_CLIQUE if clique is None else order[clique] for clique in found]
    by_base_name = sum(
        clique is not None and name not in cliques for name, clique in zip(names, found, strict=True)
    )
    return Labels(np.array(numbers, dtype=np.int64), tuple(order), by_base_name)


def _unambiguous_base_names(names: Iterable[str], *, cliques: Mapping[str, str]) -> dict[str, str]:
    """{base name: clique} where one path of the file and one path of the matrix have that base name."""
    in_matrix, in_file = _by_base_name(names), _by_base_name(cliques)
    return {
        base: cliques[next(iter(paths))]
        for base, paths in in_file.items()
        if len(paths) == 1 and len(in_matrix.get(base, ())) == 1
    }


def _by_base_name(paths: Iterable[str]) -> dict[str, set[str]]:
    groups: dict[str, set[str]] = defaultdict(set)
    for path in paths:
        if not path.startswith("#") or "/" not in path:  # else it may be a comment
            groups[_base_name(path)].add(path)
    return groups


def _base_name(path: str) -> str:
    return path.rpartition("/")[2]
