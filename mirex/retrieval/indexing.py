"""Indexing a collection: its recordings are extracted, as far as the scratch folder lacks them, and put into
an index. Recordings that cannot be analysed are reported and left out.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mirex.errors import AudioError
from mirex.retrieval.index import Index, Songs, append


@dataclasses.dataclass(frozen=True)
class Indexing:
    """What came of it.

    index: as it is now. added: songs that were put in. failures: {path: reason} of those that were not.
    """

    index: Index
    added: int
    failures: Mapping[str, str]


def index_collection(
    paths: Sequence[str],
    *,
    output: str | os.PathLike[str],
    scratch: str | os.PathLike[str],
    add: bool = False,
    **options: Any,
) -> Indexing:
    """Extract a collection and index it.

    Parameters
    ----------
    paths : sequence of str
        Of the recordings.
    output : path-like
        The index.
    scratch : path-like
        Folder in which embeddings are kept, as for `mirex.extract`.
    add : bool
        Add to an index that is there, where songs of the same path are replaced; else a new one is made.
    options
        Of `mirex.extract`.

    Returns
    -------
    Indexing

    Raises
    ------
    UsageError
        Where a file lies already that would be overwritten.
    SettingsMismatch
        If the index was made with other weights or another front end; nothing is extracted then.
    AudioError
        If no recording could be analysed.
    IndexFileError
        If the index is damaged or cannot be written.
    """
    from mirex.extraction.extract import extract

    marks = fingerprints(options.get("weights"), cqt=options.get("cqt", "multirate"))
    check_output(output, add=add, marks=marks)
    result = extract(paths, scratch=scratch, **options)
    rows = [row for row in range(len(paths)) if row not in result.failures]
    if not rows:
        raise AudioError("no recording could be analysed, so there is nothing to index")
    contents = [content for content in map(result.contents.__getitem__, rows) if content is not None]
    songs = Songs([paths[row] for row in rows], contents, result.embeddings[rows])
    failures = {paths[row]: reason for row, reason in result.failures.items()}
    if add:
        return Indexing(append(output, songs, fingerprints=marks), len(rows), failures)
    return Indexing(Index.create(output, songs, fingerprints=marks), len(rows), failures)


def check_output(output: str | os.PathLike[str], *, add: bool, marks: Mapping[str, str]) -> None:
    """Find out before hours of work, not after them, that an index cannot be written or added to."""
    from mirex.errors import IndexFileError, UsageError

    if add:
        Index(output).check(marks)
    elif os.path.lexists(output):
        raise UsageError(f"{os.fspath(output)} is there already; add to it with --append, or delete it")
    elif not os.access(Path(output).absolute().parent, os.W_OK):
        raise IndexFileError(f"{os.fspath(output)} cannot be written: no such folder, or no permission")


def fingerprints(weights: str | os.PathLike[str] | None, *, cqt: str) -> dict[str, str]:
    """What embeddings made with these weights (None: the shipped) and this transform must share."""
    from mirex.model.weights import fingerprint, read_metadata

    metadata = read_metadata(Path(weights) if weights else None)
    return {"front_end": metadata["front_end_fingerprint"], "cqt": cqt, "weights": fingerprint(metadata)}
