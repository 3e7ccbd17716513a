"""`mirex query`: two list files to a distance matrix, the calling format of MIREX's task.

Exit status 0: the matrix is complete; 1 failed, and no matrix was written; 2 wrong usage.
"""

import argparse
import logging
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mirex.commands import add_extraction_options, extraction_options, program, read_lists, require_any

MOST_SHOWN = 50  # nearest matches on a terminal

log = logging.getLogger(__name__)


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "query",
        prog=program("query"),
        usage="%(prog)s [options] collection_list query_list\n"
        "                 working_directory output_file",
        help="collection and query list to a distance matrix",
        description="Write the distances of every query to the whole collection; first extract what the "
        "working directory lacks. Exit status: 0 complete, 1 failed, 2 wrong usage.",
        allow_abbrev=False,
    )
    add_extraction_options(parser)
    parser.add_argument(
        "--hubness",
        choices=("csls",),
        help="rank by distances in which recordings that are near to everything stand further back; they "
        "are no cosine distances (default: off)",
    )
    parser.add_argument("collection", metavar="collection_list", help="one path per line")
    parser.add_argument("queries", metavar="query_list", help="one path per line")
    parser.add_argument("scratch", metavar="working_directory", help="made if missing; may be shared")
    parser.add_argument("output", metavar="output_file", help="the matrix; appears when it is whole")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Read the lists, extract, write the matrix, say where it is."""
    from mirex import __version__
    from mirex.extraction.extract import extract, locate
    from mirex.formats.filelist import file_identity, name_warnings, number_collection
    from mirex.formats.matrix import write_matrix
    from mirex.logs import ProgressLine
    from mirex.retrieval.distance import rows
    from mirex.retrieval.hubness import csls

    collection, queries = (found.paths for found in read_lists(args.collection, args.queries))
    places = dict(zip(queries, locate(queries, list_file=args.queries), strict=True))
    places |= zip(collection, locate(collection, list_file=args.collection), strict=True)
    numbering = number_collection(collection, queries, identity=lambda path: file_identity(places[path]))
    output = check_output(args.output, inputs=(args.collection, args.queries))
    for warning in name_warnings(numbering.paths):
        log.warning("%s", warning)
    if numbering.appended:
        log.warning("%d queries are missing from the collection and were appended to it", numbering.appended)
    locations = [places[path] for path in numbering.paths]
    with ProgressLine() as progress:
        extraction = extract(
            numbering.paths,
            scratch=args.scratch,
            locations=locations,
            run=f"{os.path.abspath(args.collection)} {os.path.abspath(args.queries)}",
            progress=progress,
            **extraction_options(args),
        )
    require_any(numbering.paths, extraction.failures)
    positions = np.array(numbering.query_positions)
    nearest = Nearest(positions)
    compare = csls if args.hubness else rows
    blocks = compare(extraction.embeddings[positions], extraction.embeddings, query_positions=positions)
    write_matrix(
        output,
        names=numbering.paths,
        query_positions=positions,
        rows=nearest.watch(blocks),
        system=f"mirex {__version__}, weights {extraction.weights}" + (", csls" if args.hubness else ""),
    )
    print(f"matrix of {len(positions)} queries x {len(numbering.paths)} recordings: {args.output}")
    if sys.stdout and sys.stdout.isatty():
        print("\n".join(nearest.lines(numbering.paths)))
    return 0


def check_output(path: str, *, inputs: Sequence[str]) -> Path:
    """The file to write, links followed; found out now, not after hours of work, if it cannot be."""
    from mirex.errors import MirexError, UsageError

    if _is_stream(path):
        raise UsageError(f"output {path!r} is no file but a stream; name a file")
    output = Path(os.path.realpath(path))
    if output.exists() and not output.is_file():
        raise UsageError(f"output {path!r} exists and is not a regular file; name a file")
    if output.exists() and any(os.path.exists(other) and output.samefile(other) for other in inputs):
        raise UsageError(f"output {path!r} is one of the list files; name another file")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output.parent):
            pass
    except OSError as error:
        raise MirexError(f"output {path!r} cannot be written: {error.strerror}") from error
    return output


def _is_stream(path: str) -> bool:
    """Whether a name, or what it links to, lies in /dev or /proc: where stdout goes is not replaced."""
    for _ in range(40):
        place = os.path.abspath(path)
        if place.startswith(("/dev/", "/proc/")) and not place.startswith("/dev/shm/"):
            return True
        if not os.path.islink(place):
            return False
        path = os.path.join(os.path.dirname(place), os.readlink(place))
    return False


class Nearest:
    """Notes the nearest other recording of every query while the rows pass by."""

    def __init__(self, query_positions: np.ndarray) -> None:
        self._queries = query_positions
        self._found: list[tuple[int, float]] = []

    def watch(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Pass on blocks of rows, in query order."""
        for block in blocks:
            own = self._queries[len(self._found) : len(self._found) + len(block)]
            others = block.copy()
            others[np.arange(len(block)), own] = np.inf
            best = others.argmin(axis=1)
            self._found += [(int(i), float(row[i])) for i, row in zip(best, others, strict=True)]
            yield block

    def lines(self, names: Sequence[str]) -> list[str]:
        """One line per query, "query -> nearest (distance)"; a collection of one has no other."""
        from mirex.logs import printable

        pairs = list(zip(self._queries, self._found, strict=True))
        lines = [
            f"  {printable(names[query])} -> {printable(names[best])} ({distance:.3f})"
            for query, (best, distance) in pairs[:MOST_SHOWN]
            if np.isfinite(distance)
        ]
        more = [f"  and {len(pairs) - MOST_SHOWN} more queries"] if len(pairs) > MOST_SHOWN else []
        return ["nearest matches:", *lines, *more] if lines else []
