"""`mirex search`: the nearest recordings of an extracted collection, with probabilities."""

import argparse
import csv
import dataclasses
import io
import json
import logging
import os
from typing import TYPE_CHECKING, Any

from mirex.commands import add_extraction_options, extraction_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mirex.retrieval.search import Ranking

log = logging.getLogger(__name__)


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the command to the argument tree."""
    parser = subparsers.add_parser(
        "search",
        help="the nearest recordings of a collection",
        description="Rank a collection by distance to each query. The collection is an index of 'mirex "
        "index', which needs no audio, or a list whose embeddings 'mirex extract' computed. Recordings of "
        "the list without embeddings are reported, not analysed. Exit status: 0 complete, 1 failed or a "
        "query could not be analysed, 2 usage error.",
        allow_abbrev=False,
    )
    parser.add_argument("queries", nargs="+", metavar="query", help="a recording; with --index one or more")
    collection = parser.add_mutually_exclusive_group(required=True)
    collection.add_argument("--index", metavar="FILE", help="index made by 'mirex index'")
    collection.add_argument("--collection", metavar="LIST", help="one path per line; needs --scratch")
    parser.add_argument(
        "--scratch",
        metavar="FOLDER",
        help="folder of 'mirex extract'; with --index, keeps embeddings of queries",
    )
    parser.add_argument(
        "--approximate",
        action="store_true",
        help="search only where the graph of 'mirex index --approximate' leads: faster in a very large "
        "index, but may miss near recordings; the output states the measured recall. Distances are exact. "
        "Needs the extra `faiss`",
    )
    parser.add_argument("--top", type=int, default=10, metavar="N", help="matches to list (default 10)")
    parser.add_argument(
        "--format", choices=("text", "json", "csv"), default="text", help="output format (default text)"
    )
    share = "expected share of versions in the collection, between 0 and 1 (default: one version)"
    parser.add_argument("--prior", type=float, help=share)
    add_extraction_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Search and print; 1 if no recording could be compared, or a query could not be analysed."""
    rankings = _search_index(args) if args.index else [_search_list(args)]
    print({"text": text, "json": as_json, "csv": as_csv}[args.format](rankings, many=len(args.queries) > 1))
    if len(rankings) < len(args.queries):
        return 1
    if args.strict and any(found.missing for found in rankings):
        return 1
    return 0 if any(found.compared or not found.missing for found in rankings) else 1


def _search_index(args: argparse.Namespace) -> "list[Ranking]":
    from mirex.logs import ProgressLine
    from mirex.retrieval.index import Index
    from mirex.retrieval.search import search_index

    with ProgressLine() as progress:
        return search_index(
            args.queries,
            index=Index(args.index),
            scratch=args.scratch,
            top=args.top,
            prior=args.prior,
            approximate=args.approximate,
            progress=progress,
            **extraction_options(args),
        )


def _search_list(args: argparse.Namespace) -> "Ranking":
    from mirex.errors import UsageError
    from mirex.formats.filelist import locate, read_list
    from mirex.retrieval.search import search

    if args.approximate:
        raise UsageError("--approximate needs --index, since the graph belongs to an index")
    if args.scratch is None or len(args.queries) > 1:
        raise UsageError("--collection takes one query and needs --scratch; for several queries use --index")
    paths = read_list(args.collection).paths
    options = extraction_options(args)
    del options["strict"]  # a query that cannot be analysed is an error anyway
    found = search(
        args.queries[0],
        collection=paths,
        locations=locate(paths, list_file=args.collection),
        scratch=args.scratch,
        top=args.top,
        prior=args.prior,
        **options,
    )
    if found.missing:
        path, reason = next(iter(found.missing.items()))
        log.warning(
            "%d of %d recordings were not compared, for example %s: %s",
            len(found.missing),
            len(paths),
            path,
            reason,
        )
    return found


def text(rankings: "Sequence[Ranking]", *, many: bool) -> str:
    """Format the ranked lists for a terminal.

    Parameters
    ----------
    rankings : sequence of Ranking
        One per query.
    many : bool
        Not used here; the text names every query anyway.

    Returns
    -------
    str
    """
    return "\n\n".join(map(_text, rankings))


def _text(found: "Ranking") -> str:
    from mirex.features.short import SHORTEST
    from mirex.logs import printable

    lines = [f"{found.compared} recordings compared with {printable(found.query)}, weights {found.weights}"]
    if found.approximate:
        lines.append(f"approximate, some of the nearest may be missing: {found.approximate}")
    if found.own:
        lines.append(f"left out: {found.own} entries with the query's own content")
    if found.calibration:
        lines.append(f"probability of the same work: {found.calibration.describe(prior=found.prior)}")
    else:
        lines.append("no probabilities: the weights have no calibration")
    if found.short:
        lines.append(f"the query has {found.short}")
    if any(hit.short for hit in found.hits):
        lines.append(f"short: less than {SHORTEST:.0f} s of sound, too little for a probability")
    lines += ["", f"{'rank':>4}  {'distance':>8}  {'same work':>9}  path"]
    for hit in found.hits:
        chance = "-" if hit.probability is None else f"{100 * hit.probability:.1f} %"
        chance = "short" if hit.short else chance
        lines.append(f"{hit.rank:>4}  {hit.distance:>8.4f}  {chance:>9}  {printable(hit.path)}")
    return "\n".join(lines)


def as_json(rankings: "Sequence[Ranking]", *, many: bool) -> str:
    """Format everything as JSON.

    Parameters
    ----------
    rankings : sequence of Ranking
        One per query.
    many : bool
        Whether to write a list; otherwise a single object.

    Returns
    -------
    str
    """
    values = [{**dataclasses.asdict(found), "missing": dict(found.missing)} for found in rankings]
    return json.dumps(values if many else values[0], indent=2)


def as_csv(rankings: "Sequence[Ranking]", *, many: bool) -> str:
    """Format the ranked lists as CSV with a header.

    Parameters
    ----------
    rankings : sequence of Ranking
        One per query.
    many : bool
        Whether a first column names the query.

    Returns
    -------
    str
        An unknown probability is an empty field. The last column of an approximate search is its recall.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    graph = any(found.approximate for found in rankings)
    writer.writerow(["query"] * many + ["rank", "distance", "probability", "path"] + ["approximate"] * graph)
    for found in rankings:
        for hit in found.hits:
            chance = "" if hit.probability is None else f"{hit.probability:.6f}"
            values = [str(hit.rank), f"{hit.distance:.8f}", chance, _readable(hit.path)]
            writer.writerow([_readable(found.query)] * many + values + [found.approximate] * graph)
    return stream.getvalue().rstrip("\n")


def _readable(path: str) -> str:
    return os.fsencode(path).decode("utf-8", "replace")
