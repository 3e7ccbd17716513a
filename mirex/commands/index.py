"""`mirex index`: a collection's embeddings in one file, which `mirex search` and `mirex scan` read."""

import argparse
import logging
from typing import TYPE_CHECKING, Any

from mirex.commands import add_extraction_options, extraction_options

if TYPE_CHECKING:
    from mirex.retrieval.graph import Graph
    from mirex.retrieval.index import Index

log = logging.getLogger(__name__)


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the command to the argument tree."""
    parser = subparsers.add_parser(
        "index",
        help="put a collection into one file, to search it without its audio",
        description="Extract recordings that the scratch folder lacks and write an index. Without a list: "
        "describe the index and verify every byte. A change copies the index, so it briefly needs twice the "
        "disk space; searches that are running keep using the old one. Exit status: 0 complete, 1 failed, 2 "
        "usage error.",
        allow_abbrev=False,
    )
    parser.add_argument("collection", nargs="?", metavar="LIST", help="one path per line")
    parser.add_argument("-o", "--index", required=True, metavar="FILE", help="the index, such as songs.mirex")
    parser.add_argument("--scratch", metavar="FOLDER", help="folder where 'mirex extract' keeps embeddings")
    change = parser.add_mutually_exclusive_group()
    change.add_argument(
        "--append",
        action="store_true",
        help="add to the index; songs with the same path are replaced, with a warning if the file is another",
    )
    change.add_argument("--remove", action="store_true", help="remove the songs of the list from the index")
    change.add_argument("--export", metavar="FILE", help="write the embeddings as .npy or .parquet")
    parser.add_argument(
        "--windows",
        action="store_true",
        help="also index windows of each song (5 times the size), so that 'mirex scan' can tell which part "
        "is playing; --append follows the index",
    )
    parser.add_argument(
        "--approximate",
        action="store_true",
        help="make or update the graph for 'mirex search --approximate' in FILE.graph, and measure its "
        "recall; needs the extra `faiss`",
    )
    add_extraction_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Build, change, export or describe."""
    from mirex.errors import UsageError
    from mirex.extras import need

    if args.remove or args.append:
        if args.collection is None:
            raise UsageError("--append and --remove need a list of recordings")
    elif args.export and (args.collection is not None or args.approximate):
        raise UsageError("--export writes the index as it is; leave out the list and --approximate")
    if args.collection is not None and not args.remove and args.scratch is None:
        raise UsageError("indexing needs --scratch, the folder where 'mirex extract' keeps embeddings")
    if args.approximate:
        need(["faiss"], extra="faiss")
    if args.collection is None:
        return _export(args) if args.export else _link(args) if args.approximate else _describe(args)
    changed = _remove(args) if args.remove else _build(args)
    if args.approximate:
        return _link(args)
    if changed:
        _mention_stale_graph(args.index)
    return 0


def _build(args: argparse.Namespace) -> bool:
    """Whether the index is another one now, as for `_remove`."""
    from mirex.formats.filelist import locate, read_list
    from mirex.logs import ProgressLine
    from mirex.retrieval.indexing import index_collection
    from mirex.retrieval.windows import OF_SONGS

    paths = read_list(args.collection).paths
    with ProgressLine() as progress:
        made = index_collection(
            paths,
            output=args.index,
            scratch=args.scratch,
            add=args.append,
            layout=OF_SONGS if args.windows else None,
            locations=locate(paths, list_file=args.collection),
            progress=progress,
            **extraction_options(args),
        )
    failed = f", {len(made.failures)} left out (see failed.tsv in {args.scratch})" if made.failures else ""
    print(f"{made.added} songs added to {args.index}, which now holds {len(made.index)}{failed}")
    return True


def _remove(args: argparse.Namespace) -> bool:
    from mirex.formats.filelist import read_list
    from mirex.logs import printable
    from mirex.retrieval.index import remove

    names = read_list(args.collection).paths
    index, absent = remove(args.index, names)
    if absent:
        log.warning("%d songs were not in the index, the first: %s", len(absent), printable(absent[0]))
    removed = len(set(names)) - len(absent)
    print(f"{removed} songs removed from {args.index}, which now holds {len(index)}")
    return removed > 0


def _export(args: argparse.Namespace) -> int:
    from mirex.retrieval.export import export
    from mirex.retrieval.index import Index

    written = export(Index(args.index), args.export)
    print(f"written: {', '.join(map(str, written))}")
    return 0


def _link(args: argparse.Namespace) -> int:
    from mirex.logs import ProgressLine
    from mirex.retrieval.graph import make
    from mirex.retrieval.index import Index

    with ProgressLine(unit="song") as progress:
        graph = make(Index(args.index), threads=args.threads, progress=progress)
    print(graph_text(graph))
    return 0


def graph_text(graph: "Graph") -> str:
    """Describe a graph for a terminal.

    Parameters
    ----------
    graph : Graph
        Of an index.

    Returns
    -------
    str
        One line.
    """
    from mirex.retrieval.graph_file import path_of

    found = graph.recall
    return (
        f"{path_of(graph.index.path)}: links of {len(graph.links.levels):,} songs for approximate search. It "
        f"finds {100 * found.share:.2f} % of the {found.top} nearest that exact search finds, measured with "
        f"{found.queries} songs of the index, moved by noise to a distance of {found.distance:g}"
    )


def _mention_stale_graph(index: str) -> None:
    from mirex.retrieval.graph_file import path_of

    if path_of(index).exists():
        log.warning("%s is outdated; update it with --approximate", path_of(index))


def _describe(args: argparse.Namespace) -> int:
    from mirex.retrieval.index import Index

    index = Index(args.index)
    index.verify()
    print(text(index))
    return 0


def text(index: "Index") -> str:
    """Describe an index for a terminal.

    Parameters
    ----------
    index : Index
        An open index.

    Returns
    -------
    str
        One line.
    """
    marks = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in index.fingerprints.items())
    windows = "no windows"
    if index.windows is not None:
        windows = f"{len(index.windows):,} windows ({index.window_layout})"
    songs, size = index.embeddings.shape
    return f"{index.path}: {songs:,} songs, {size} dimensions, {windows}; {marks}; checksums match"
