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
    from mirex.retrieval.search import Ranking

log = logging.getLogger(__name__)


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the command to the argument tree."""
    parser = subparsers.add_parser(
        "search",
        help="the nearest recordings of a collection",
        description="Rank a collection by its distance to a query, from embeddings that 'mirex extract' "
        "made. The collection is not analysed; what is missing is reported.",
        allow_abbrev=False,
    )
    parser.add_argument("query", help="a recording")
    parser.add_argument("--collection", required=True, metavar="LIST", help="one path per line")
    parser.add_argument("--scratch", required=True, metavar="FOLDER", help="that 'mirex extract' filled")
    parser.add_argument("--top", type=int, default=10, metavar="N", help="length of the list (default 10)")
    parser.add_argument("--format", choices=("text", "json", "csv"), default="text")
    share = "share of versions expected in the collection, between 0 and 1 (default: one version)"
    parser.add_argument("--prior", type=float, help=share)
    add_extraction_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Search, print; 1 if nothing of the collection could be compared."""
    from mirex.extraction.extract import locate
    from mirex.formats.filelist import read_list
    from mirex.retrieval.search import search

    paths = read_list(args.collection).paths
    options = extraction_options(args)
    del options["strict"]  # a query that cannot be analysed is an error anyway
    found = search(
        args.query,
        collection=paths,
        locations=locate(paths, list_file=args.collection),
        scratch=args.scratch,
        top=args.top,
        prior=args.prior,
        **options,
    )
    print({"text": text, "json": as_json, "csv": as_csv}[args.format](found))
    if found.missing:
        path, reason = next(iter(found.missing.items()))
        log.warning(
            "%d of %d recordings were not compared, first %s: %s",
            len(found.missing),
            len(paths),
            path,
            reason,
        )
    if args.strict and found.missing:
        return 1
    return 0 if found.compared or not found.missing else 1


def text(found: "Ranking") -> str:
    """The ranked list for a terminal."""
    from mirex.logs import printable

    lines = [f"{found.compared} recordings compared with {printable(found.query)}, weights {found.weights}"]
    if found.own:
        lines.append(f"left out: {found.own} entries that are the query itself")
    if found.calibration:
        lines.append(f"probability of one work: {found.calibration.describe(prior=found.prior)}")
    else:
        lines.append("no probabilities: no calibration is sealed in the weights")
    lines += ["", f"{'rank':>4}  {'distance':>8}  {'same work':>9}  path"]
    for hit in found.hits:
        chance = "-" if hit.probability is None else f"{100 * hit.probability:.1f} %"
        lines.append(f"{hit.rank:>4}  {hit.distance:>8.4f}  {chance:>9}  {printable(hit.path)}")
    return "\n".join(lines)


def as_json(found: "Ranking") -> str:
    """Everything, as JSON."""
    return json.dumps({**dataclasses.asdict(found), "missing": dict(found.missing)}, indent=2)


def as_csv(found: "Ranking") -> str:
    """The ranked list as CSV with a header; no probability: an empty field."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["rank", "distance", "probability", "path"])
    for hit in found.hits:
        path = os.fsencode(hit.path).decode("utf-8", "replace")
        chance = "" if hit.probability is None else f"{hit.probability:.6f}"
        writer.writerow([hit.rank, f"{hit.distance:.8f}", chance, path])
    return stream.getvalue().rstrip("\n")
