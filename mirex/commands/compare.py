"""`mirex compare`: are these recordings the same work? Distances, probabilities, a picture."""

import argparse
import dataclasses
import json
import os
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mirex.commands import add_extraction_options, extraction_options

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from mirex.extraction.extract import Extraction

EVEN = 0.5
"""Default prior: whoever picks two recordings to compare has no opinion yet."""


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the command to the argument tree."""
    parser = subparsers.add_parser(
        "compare",
        help="how likely recordings are versions of one work",
        description="Compare every pair of recordings: cosine distance and, if the weights have a "
        "calibration, the probability that both are versions of the same work. For just two recordings, also "
        "show where they match: times, difference in key and ratio of tempi. Exit status: 0 complete, 1 "
        "failed, 2 usage error.",
        allow_abbrev=False,
    )
    parser.add_argument("recordings", nargs="+", metavar="recording", help="two or more audio files")
    parser.add_argument("--plot", metavar="PICTURE", help="plot where two recordings match (png, svg or pdf)")
    parser.add_argument(
        "--prior", type=float, default=EVEN, help="expected share of pairs of the same work (default 0.5)"
    )
    parser.add_argument("--scratch", metavar="FOLDER", help="folder that keeps embeddings for reuse")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_extraction_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Embed, compare, plot if asked, print."""
    from mirex.evaluation.plots import new_figure
    from mirex.model.weights import read_metadata

    _check(args)
    if args.plot:
        new_figure(1, 1)  # find a missing library now, not after the work
    metadata = read_metadata(Path(args.weights) if args.weights else None)
    result = _compare(args, metadata)
    if len(args.recordings) == 2 and (args.plot or not result["pairs"][0]["same_recording"]):
        result["match"] = _match(args, metadata["front_end"])
        if args.plot:
            result["picture"] = args.plot
    print(json.dumps(result, indent=2) if args.json else _text(result))
    return 0


def _compare(args: argparse.Namespace, metadata: "Mapping[str, str]") -> dict[str, Any]:
    from mirex.features.short import notes
    from mirex.logs import printable
    from mirex.model.weights import fingerprint
    from mirex.retrieval.calibration import from_metadata
    from mirex.retrieval.distance import distance_matrix
    from mirex.retrieval.search import embed_recordings

    calibration = from_metadata(metadata)
    found = embed_recordings(args.recordings, scratch=args.scratch, **extraction_options(args))
    distances = distance_matrix(found.embeddings, found.embeddings)
    chances = None if calibration is None else calibration.probability(distances, prior=args.prior)
    return {
        "weights": fingerprint(metadata),
        "calibration": None if calibration is None else calibration.describe(prior=args.prior),
        "short": notes([printable(name) for name in args.recordings], found.seconds.tolist()),
        "pairs": _pairs(found, distances, chances),
    }


def _check(args: argparse.Namespace) -> None:
    from mirex.errors import UsageError

    if len(args.recordings) < 2:
        raise UsageError("compare needs at least two recordings")
    if args.plot and len(args.recordings) != 2:
        raise UsageError(f"--plot takes two recordings, {len(args.recordings)} given")
    if not 0 < args.prior < 1:
        raise UsageError(f"--prior {args.prior}: must be between 0 and 1")


def _pairs(
    found: "Extraction", distances: "np.ndarray", chances: "np.ndarray | None"
) -> list[dict[str, Any]]:
    """All pairs of recordings, nearest first."""
    pairs = [
        {
            "first": found.paths[i],
            "second": found.paths[j],
            "distance": float(distances[i, j]),
            "probability": None if chances is None else _probability(found, i, j, chances),
            "same_recording": found.contents[i] == found.contents[j],
        }
        for i, j in combinations(range(len(found.paths)), 2)
    ]
    return sorted(pairs, key=lambda pair: pair["distance"])


def _probability(found: "Extraction", i: int, j: int, chances: "np.ndarray") -> float | None:
    """That both are of one work. 1 for files of equal content; None if a recording is too short."""
    from mirex.features.short import is_short

    if found.contents[i] == found.contents[j]:
        return 1.0
    if is_short(found.seconds[i]) or is_short(found.seconds[j]):
        return None
    return float(chances[i, j])


def _text(result: dict[str, Any]) -> str:
    from mirex.logs import printable

    lines = [f"{'distance':>8}  {'same work':>9}  recordings"]
    for pair in result["pairs"]:
        chance = "-" if pair["probability"] is None else f"{100 * pair['probability']:.1f} %"
        names = f"{printable(pair['first'])}  {printable(pair['second'])}"
        names += "  (the same recording)" if pair["same_recording"] else ""
        lines.append(f"{pair['distance']:>8.4f}  {chance:>9}  {names}")
    lines += result["short"]
    if result["calibration"]:
        lines.append(f"probability of the same work: {result['calibration']}")
    else:
        lines.append("no probabilities: the weights have no calibration")
    if "match" in result:
        lines.append(_match_text(result["match"]))
    if "picture" in result:
        lines.append(f"picture: {result['picture']}")
    return "\n".join(lines)


def _match(args: argparse.Namespace, front_end: str) -> dict[str, Any] | None:
    """Where the two recordings match, None if nowhere; makes the picture if asked."""
    from mirex.evaluation import plots
    from mirex.features import audio, cqt
    from mirex.retrieval.alignment import cross_similarity, match
    from mirex.settings import FrontEndSettings

    settings = FrontEndSettings.from_json(front_end)
    columns = []
    for path in args.recordings:
        with audio.named(path, logged=False):  # its warnings were logged when it was embedded
            samples = audio.decode(path)
        columns.append(cqt.columns(samples, settings=settings, implementation=args.cqt))
    result = cross_similarity(*columns)
    seconds = settings.seconds_per_column
    if args.plot:
        first, second = (os.path.basename(path) for path in args.recordings)
        figure = plots.similarity_figure(result, names=(first, second), seconds_per_column=seconds)
        plots.save(figure, args.plot)
    found = match(result, seconds_per_column=seconds)
    return None if found is None else dataclasses.asdict(found)


def _match_text(match: dict[str, Any] | None) -> str:
    """The match in one line.

    >>> match = {"first_start": 1.0, "first_end": 83.6, "second_start": 0.0, "second_end": 75.1}
    >>> _match_text(match | {"semitones": -1, "tempo_ratio": 1.1})
    'longest match: 0:01 to 1:24 and 0:00 to 1:15; the second is 1 semitone higher, at 1.10 times the tempo'
    """
    from mirex.evaluation.plots import clock

    if match is None:
        return "no matching part"
    times = [f"{clock(match[f'{one}_start'])} to {clock(match[f'{one}_end'])}" for one in ("first", "second")]
    semitones = -match["semitones"]
    key = "in the same key"
    if semitones:
        higher = "higher" if semitones > 0 else "lower"
        key = f"{abs(semitones)} semitone{'s' * (abs(semitones) > 1)} {higher}"
    tempo = match["tempo_ratio"]
    speed = "" if tempo is None else f", at {tempo:.2f} times the tempo"
    return f"longest match: {' and '.join(times)}; the second is {key}{speed}"
