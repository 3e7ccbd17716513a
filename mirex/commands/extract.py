"""`mirex extract`: audio to embeddings in a scratch folder. Exit status 0 complete, 1 failed."""

import argparse
import os
from typing import Any

from mirex.commands import add_extraction_options, extraction_options, program


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "extract",
        prog=program("extract"),
        usage="%(prog)s [options] scratch_folder file_list",
        help="audio files to embeddings in a scratch folder",
        description="Compute the embeddings that the scratch folder lacks. Exit status: 0 complete, "
        "1 failed, 2 usage error.",
        allow_abbrev=False,
    )
    add_extraction_options(parser)
    parser.add_argument("--keep-columns", action="store_true", help="store the CQT columns too")
    parser.add_argument(
        "--shard", type=_share, default=(1, 1), metavar="K/N",
        help="extract only the K-th of N shards of the list; a shard may be empty",
    )  # fmt: skip
    parser.add_argument("--scheduler", metavar="A", help="address of a Dask scheduler, or local")
    parser.add_argument("scratch", metavar="scratch_folder", help="created if missing; may be shared")
    parser.add_argument("list", metavar="file_list", help="one path per line")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Extract, and print where the embeddings are."""
    from mirex.extraction.extract import extract
    from mirex.formats.filelist import check_analysed, locate, read_list
    from mirex.logs import ProgressLine

    number, shares = args.shard
    listed = read_list(args.list).paths
    places = locate(listed, list_file=args.list)[number - 1 :: shares]
    paths = listed[number - 1 :: shares]
    with ProgressLine() as progress:
        result = extract(
            paths,
            scratch=args.scratch,
            locations=places,
            keep_columns=args.keep_columns,
            scheduler=args.scheduler,
            run=f"{os.path.abspath(args.list)} {number}/{shares}",
            progress=progress,
            **extraction_options(args),
        )
    check_analysed(paths, result.failures, list_file=args.list, share=args.shard)
    failed = f", {len(result.failures)} failed (see failed.tsv there)" if result.failures else ""
    share = f" (shard {number} of {shares})" if shares > 1 else ""
    print(f"embeddings of {len(paths) - len(result.failures)} files{share} in {args.scratch}{failed}")
    return 0


def _share(text: str) -> tuple[int, int]:
    number, shares = map(int, text.split("/"))
    if not 1 <= number <= shares:
        raise ValueError
    return number, shares


_share.__name__ = "shard K/N, K from 1 to N"  # argparse names the type in its message
