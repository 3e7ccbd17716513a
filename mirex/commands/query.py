"""`mirex query`: two list files to a distance matrix, called as MIREX's task specifies.

Exit status: 0 the matrix is complete; 1 failed, no matrix was written; 2 usage error.
"""

import argparse
import logging
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mirex.commands import add_extraction_options, extraction_options, program

if TYPE_CHECKING:
    from mirex.extraction.extract import Extraction
    from mirex.formats.filelist import Numbering

MOST_SHOWN = 50  # nearest matches on a terminal
_MOST_LINKS = 40  # on the way to a file, as in Linux

log = logging.getLogger(__name__)


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "query",
        prog=program("query"),
        usage="%(prog)s [options] collection_list query_list\n                 working_directory output_file",
        help="collection and query list to a distance matrix",
        description="Write the distance of every query to every recording; first extract what the working "
        "directory lacks. Exit status: 0 complete, 1 failed, 2 usage error.",
        allow_abbrev=False,
    )
    add_extraction_options(parser)
    parser.add_argument(
        "--hubness", choices=("csls",), metavar="H",
        help="csls: push hubs back; values are then not cosine distances (default off)",
    )  # fmt: skip
    parser.add_argument("collection", metavar="collection_list", help="one path per line")
    parser.add_argument("queries", metavar="query_list", help="one path per line")
    parser.add_argument("scratch", metavar="working_directory", help="created if missing; may be shared")
    parser.add_argument("output", metavar="output_file", help="the matrix; appears once it is complete")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Read the lists, extract, write the matrix, print where it is."""
    from mirex.extraction.extract import extract
    from mirex.formats.filelist import locate, name_warnings, number_collection, read_list
    from mirex.logs import ProgressLine

    collection, queries = read_list(args.collection).paths, read_list(args.queries).paths
    places = locate(collection, list_file=args.collection), locate(queries, list_file=args.queries)
    numbering = number_collection(collection, queries, places=places)
    place_of = dict(zip(reversed(queries), reversed(places[1]), strict=True))
    locations = [*places[0], *(place_of[path] for path in numbering.paths[len(collection) :])]
    output = check_output(args.output, inputs=(args.collection, args.queries, *locations))
    for warning in name_warnings(numbering.paths):
        log.warning("%s", warning)
    _log_numbering(numbering)
    with ProgressLine() as progress:
        extraction = extract(
            numbering.paths,
            scratch=args.scratch,
            locations=locations,
            run=f"{os.path.abspath(args.collection)} {os.path.abspath(args.queries)}",
            progress=progress,
            **extraction_options(args),
        )
    _check_lists(args, collection, queries, numbering, extraction)
    nearest = _write(args, output, numbering, extraction)
    print(f"matrix of {len(queries)} queries x {len(numbering.paths)} recordings: {args.output}")
    if sys.stdout and sys.stdout.isatty():
        print("\n".join(nearest.lines(numbering.paths)))
    return 0


def _log_numbering(numbering: "Numbering") -> None:
    if numbering.appended:
        log.warning("%d queries are not in the collection and were appended to it", numbering.appended)
    if numbering.renamed:
        log.info("%d queries are in the collection under other paths", numbering.renamed)


def _check_lists(
    args: argparse.Namespace,
    collection: Sequence[str],
    queries: Sequence[str],
    numbering: "Numbering",
    extraction: "Extraction",
) -> None:
    """Raise an error for a list of which no file could be analysed: it must be the wrong list."""
    from mirex.formats.filelist import check_analysed

    failures = extraction.failures
    of_collection = {index: reason for index, reason in failures.items() if index < len(collection)}
    of_queries = {i: failures[p] for i, p in enumerate(numbering.query_positions) if p in failures}
    check_analysed(collection, of_collection, list_file=args.collection)
    check_analysed(queries, of_queries, list_file=args.queries)


def _write(
    args: argparse.Namespace, output: Path, numbering: "Numbering", extraction: "Extraction"
) -> "Nearest":
    """Write the matrix; `MirexError` if the file system refuses."""
    from mirex import __version__
    from mirex.errors import MirexError
    from mirex.formats.matrix import write_matrix
    from mirex.retrieval.distance import rows
    from mirex.retrieval.hubness import csls

    positions = np.array(numbering.query_positions)
    nearest = Nearest(positions)
    compare, csls_mark = (csls, ", csls") if args.hubness else (rows, "")
    blocks = compare(extraction.embeddings[positions], extraction.embeddings, query_positions=positions)
    try:
        write_matrix(
            output,
            names=numbering.paths,
            query_positions=positions,
            rows=nearest.watch(blocks),
            system=f"mirex {__version__}, weights {extraction.weights}{csls_mark}",
        )
    except OSError as error:
        raise MirexError(
            f"output {args.output!r} cannot be written: {error.strerror}; free some space or name another "
            "file, and run again: no recording is analysed twice"
        ) from error
    return nearest


def check_output(path: str, *, inputs: Sequence[str]) -> Path:
    """Resolve the output file, and check that it can be written before hours of work are spent.

    Parameters
    ----------
    path : str
        As the user named it.
    inputs : sequence of str
        Files that must not be written: the lists, the recordings.

    Returns
    -------
    Path

    Raises
    ------
    UsageError
        If it is a folder, a device, a pipe, a stream of this process, a link to one of these, a circular
        link, or one of the inputs.
    MirexError
        If it cannot be written.
    """
    from mirex.errors import MirexError, UsageError

    if path.endswith("/") or not path:
        raise UsageError(f"output {path!r} is not a file name; name a file")
    try:
        target = _target(path)
        if target is None:
            raise UsageError(f"output {path!r} is a stream or a device, not a file; name a regular file")
        output = Path(target)
        if os.path.lexists(target) and not output.is_file():
            raise UsageError(f"output {path!r} exists and is not a regular file; name a file")
        if output.exists() and any(os.path.exists(other) and output.samefile(other) for other in inputs):
            raise UsageError(f"output {path!r} is one of the lists or recordings; name another file")
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output.parent):
            pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MirexError(f"output {path!r} cannot be written: {reason}; name a file elsewhere") from error
    return output


def _target(path: str) -> str | None:
    """Where a path leads; None if it, or a link on the way, lies in /dev or /proc.

    /dev/stdout leads to the very file that the caller redirected stdout to, which must not be replaced.
    """
    place = os.path.abspath(path)
    for _ in range(_MOST_LINKS):
        folder, name = os.path.split(place)
        place = os.path.join(os.path.realpath(folder), name)
        if any(_is_special(each) for each in (place, folder + "/")):
            return None
        if not os.path.islink(place):
            return place
        place = os.path.normpath(os.path.join(os.path.dirname(place), os.readlink(place)))
    return place


def _is_special(place: str) -> bool:
    """Whether it lies in /dev or /proc; /dev/shm is an ordinary file system."""
    return place.startswith(("/dev/", "/proc/")) and not place.startswith("/dev/shm/")


class Nearest:
    """Notes the nearest other recording of every query while the rows pass through."""

    def __init__(self, query_positions: np.ndarray) -> None:
        self._queries = query_positions
        self._found: list[tuple[int, float]] = []

    def watch(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Pass on blocks of rows, and note the nearest match of each row.

        Parameters
        ----------
        blocks : iterable of float32 [queries, recordings]
            Distances, in query order.

        Yields
        ------
        float32 [queries, recordings]
            The same blocks.
        """
        for block in blocks:
            own = self._queries[len(self._found) : len(self._found) + len(block)]
            others = block.copy()
            others[np.arange(len(block)), own] = np.inf
            best = others.argmin(axis=1)
            self._found += [(int(i), float(row[i])) for i, row in zip(best, others, strict=True)]
            yield block

    def lines(self, names: Sequence[str]) -> list[str]:
        """List the matches, "query -> nearest (distance)".

        Parameters
        ----------
        names : sequence of str
            Of the recordings.

        Returns
        -------
        list of str
            At most MOST_SHOWN queries. A query without any other recording has no line.
        """
        from mirex.logs import printable

        pairs = list(zip(self._queries, self._found, strict=True))
        lines = [
            f"  {printable(names[query])} -> {printable(names[best])} ({distance:.3f})"
            for query, (best, distance) in pairs[:MOST_SHOWN]
            if np.isfinite(distance)
        ]
        more = [f"  and {len(pairs) - MOST_SHOWN} more queries"] if len(pairs) > MOST_SHOWN else []
        return ["nearest matches:", *lines, *more] if lines else []
