"""`mirex compare`: are these recordings the same work? Distances, probabilities, a picture."""

import argparse
import json
import os
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mirex.commands import add_extraction_options, extraction_options

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

EVEN = 0.5
"""Default prior: who picks out two recordings asks a question that is open."""


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the command to the argument tree."""
    parser = subparsers.add_parser(
        "compare",
        help="how likely two or more recordings are of one work",
        description="Compare every two of the recordings given: cosine distance and, if the weights have a "
        "calibration, the probability that they are the same work.",
        allow_abbrev=False,
    )
    parser.add_argument("recordings", nargs="+", metavar="recording", help="two or more audio files")
    parser.add_argument("--plot", metavar="PICTURE", help="where two recordings match (png, svg or pdf)")
    parser.add_argument(
        "--prior", type=float, default=EVEN, help="share of same-work pairs expected (default 0.5)"
    )
    parser.add_argument("--scratch", metavar="FOLDER", help="reuse and keep embeddings there")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_extraction_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Embed, compare, draw if asked to, print."""
    from mirex.evaluation.plots import new_figure
    from mirex.model.weights import read_metadata

    _check(args)
    if args.plot:
        new_figure(1, 1)  # a missing library is found out now, not after the work
    metadata = read_metadata(Path(args.weights) if args.weights else None)
    result = _compare(args, metadata)
    if args.plot:
        result["match"] = _plot(args, metadata["front_end"])
        result["picture"] = args.plot
    print(json.dumps(result, indent=2) if args.json else _text(result))
    return 0


def _compare(args: argparse.Namespace, metadata: "Mapping[str, str]") -> dict[str, Any]:
    from mirex.model.weights import fingerprint
    from mirex.retrieval.calibration import from_metadata
    from mirex.retrieval.distance import distance_matrix
    from mirex.retrieval.search import embed_recordings

    calibration = from_metadata(metadata)
    embeddings = embed_recordings(args.recordings, scratch=args.scratch, **extraction_options(args))
    distances = distance_matrix(embeddings, embeddings)
    chances = None if calibration is None else calibration.probability(distances, prior=args.prior)
    return {
        "weights": fingerprint(metadata),
        "calibration": None if calibration is None else calibration.describe(prior=args.prior),
        "pairs": _pairs(args.recordings, distances, chances),
    }


def _check(args: argparse.Namespace) -> None:
    from mirex.errors import UsageError

    if len(args.recordings) < 2:
        raise UsageError("compare needs two recordings or more")
    if args.plot and len(args.recordings) != 2:
        raise UsageError(f"--plot shows two recordings, but {len(args.recordings)} are given")
    if not 0 < args.prior < 1:
        raise UsageError(f"the prior must lie between 0 and 1, found {args.prior}")


def _pairs(names: list[str], distances: "np.ndarray", chances: "np.ndarray | None") -> list[dict[str, Any]]:
    """Every two recordings, the nearest first."""
    pairs = [
        {
            "first": names[i],
            "second": names[j],
            "distance": float(distances[i, j]),
            "probability": None if chances is None else float(chances[i, j]),
        }
        for i, j in combinations(range(len(names)), 2)
    ]
    return sorted(pairs, key=lambda pair: pair["distance"])


def _text(result: dict[str, Any]) -> str:
    from mirex.logs import printable

    lines = [f"{'distance':>8}  {'same work':>9}  recordings"]
    for pair in result["pairs"]:
        chance = "-" if pair["probability"] is None else f"{100 * pair['probability']:.1f} %"
        names = f"{printable(pair['first'])}  {printable(pair['second'])}"
        lines.append(f"{pair['distance']:>8.4f}  {chance:>9}  {names}")
    if result["calibration"]:
        lines.append(f"probability of the same work: {result['calibration']}")
    else:
        lines.append("no probabilities: no calibration is sealed in the weights")
    if "match" in result:
        lines += [result["match"], f"picture: {result['picture']}"]
    return "\n".join(lines)


def _plot(args: argparse.Namespace, front_end: str) -> str:
    """Draw the cross-similarity of the two recordings; returns the match in words."""
    from mirex.evaluation import plots
    from mirex.features import audio, cqt
    from mirex.retrieval.alignment import cross_similarity
    from mirex.settings import FrontEndSettings

    settings = FrontEndSettings.from_json(front_end)
    columns = [
        cqt.columns(audio.decode(path), settings=settings, implementation=args.cqt)
        for path in args.recordings
    ]
    result = cross_similarity(*columns)
    first, second = (os.path.basename(path) for path in args.recordings)
    seconds = settings.seconds_per_column
    plots.save(plots.similarity_figure(result, names=(first, second), seconds_per_column=seconds), args.plot)
    return plots.describe_match(result, seconds_per_column=seconds)
