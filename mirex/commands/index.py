"""`mirex index`: a collection's embeddings in one file, which `mirex search` and `mirex scan` read."""

import argparse
import logging
from typing import TYPE_CHECKING, Any

from mirex.commands import add_extraction_options, extraction_options

if TYPE_CHECKING:
    from mirex.retrieval.index import Index

log = logging.getLogger(__name__)


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the command to the argument tree."""
    parser = subparsers.add_parser(
        "index",
        help="a collection in one file, to search without its audio",
        description="Extract what the scratch folder lacks and write an index. Without a list: say what the "
        "index holds, and check every byte of it. A change copies the index, so it takes as much room again "
        "for a moment; who searches meanwhile goes on with the old one. "
        "Exit status: 0 complete, 1 failed, 2 wrong usage.",
        allow_abbrev=False,
    )
    parser.add_argument("collection", nargs="?", metavar="LIST", help="one path per line")
    parser.add_argument("-o", "--index", required=True, metavar="FILE", help="the index, say songs.mirex")
    parser.add_argument("--scratch", metavar="FOLDER", help="where 'mirex extract' keeps embeddings")
    change = parser.add_mutually_exclusive_group()
    change.add_argument(
        "--append", action="store_true", help="add to the index; songs of the same path are replaced"
    )
    change.add_argument("--remove", action="store_true", help="take the songs of the list out of the index")
    change.add_argument("--export", metavar="FILE", help="write the embeddings as .npy or .parquet")
    parser.add_argument(
        "--windows",
        action="store_true",
        help="index parts of each song too (5 times the size), so that 'mirex scan' finds which part plays; "
        "--append does as the index does",
    )
    add_extraction_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Build, change, export or describe."""
    from mirex.errors import UsageError

    if args.remove or args.append:
        if args.collection is None:
            raise UsageError("--append and --remove need a list of recordings")
    elif args.export and args.collection is not None:
        raise UsageError("--export writes what the index holds; leave out the list")
    if args.remove:
        return _remove(args)
    if args.collection is None:
        return _export(args) if args.export else _describe(args)
    if args.scratch is None:
        raise UsageError("indexing needs --scratch, the folder in which 'mirex extract' keeps embeddings")
    return _build(args)


def _build(args: argparse.Namespace) -> int:
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
    print(f"{made.added} songs put into {args.index}, which holds {len(made.index)}{failed}")
    return 0


def _remove(args: argparse.Namespace) -> int:
    from mirex.formats.filelist import read_list
    from mirex.logs import printable
    from mirex.retrieval.index import remove

    names = read_list(args.collection).paths
    index, absent = remove(args.index, names)
    if absent:
        log.warning("%d songs were not in the index, first %s", len(absent), printable(absent[0]))
    print(f"{len(set(names)) - len(absent)} songs taken out of {args.index}, which holds {len(index)}")
    return 0


def _export(args: argparse.Namespace) -> int:
    from mirex.retrieval.export import export
    from mirex.retrieval.index import Index

    written = export(Index(args.index), args.export)
    print(f"written: {', '.join(map(str, written))}")
    return 0


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
    return f"{index.path}: {songs:,} songs, {size} dimensions, {windows}; {marks}; every byte is as written"
