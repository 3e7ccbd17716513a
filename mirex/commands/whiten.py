"""`mirex whiten`: fit a whitening on recordings and seal weights with it."""

import argparse
from pathlib import Path
from typing import Any

from mirex.commands import read_calibration, read_object, seed


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the command to the argument tree."""
    parser = subparsers.add_parser(
        "whiten",
        help="seal weights with a whitening fitted to recordings",
        description="Embed the windows of many recordings, which need no labels, and seal the weights with "
        "the whitening of these vectors: it separates unrelated songs that look alike. Exit status: "
        "0 complete, 1 failed, 2 usage error.",
        allow_abbrev=False,
    )
    parser.add_argument("weights", type=Path, help="sealed weights")
    parser.add_argument("output", type=Path, help="the weights file to write")
    parser.add_argument(
        "--recordings", type=Path, nargs="+", required=True, metavar="NPZ", help="archives of CQT levels"
    )
    parser.add_argument(
        "--views",
        nargs="+",
        choices=("cqt", "chroma"),
        default=("cqt",),
        help="views to fit a whitening for (cqt)",
    )
    parser.add_argument(
        "--chroma-weight", type=float, help="weight of the chroma view in the embedding (that of the weights)"
    )
    parser.add_argument(
        "--second-order-weight",
        type=float,
        help="weight in the CQT view of the second-order vector, which describes the first convolution (that "
        "of the weights)",
    )
    parser.add_argument(
        "--second-order-tilt",
        type=float,
        help="how much more high bins count than low ones in the second-order vector, 0 to 1 (that of the "
        "weights)",
    )
    parser.add_argument(
        "--second-order-phases",
        type=int,
        help="over how many grids of steps, a column apart, the second-order vector is averaged, 1 or 2 "
        "(that of the weights)",
    )
    for name, view in (("--window", "CQT"), ("--chroma-window", "chroma")):
        parser.add_argument(
            name,
            type=int,
            nargs=2,
            metavar=("STEPS", "HOP"),
            help=f"windows of the {view} view, in steps of 0.93 s (those of the weights)",
        )
    parser.add_argument(
        "--power", type=float, default=-0.35, help="exponent of the covariance, -0.5 to 0 (-0.35)"
    )
    parser.add_argument(
        "--shrinkage", type=float, default=0.02, help="share of the identity in the covariance (0.02)"
    )
    parser.add_argument(
        "--seed", type=seed, default=0, help="seed of the dither that replaces rounded digits (0)"
    )
    parser.add_argument("--calibration", type=Path, help="JSON of a calibration, for the metadata")
    parser.add_argument("--results", type=Path, help="JSON of measured results, for the metadata")
    parser.add_argument("--date", help="ISO date of the weights (unchanged by default)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Fit, seal, print the fingerprint."""
    from mirex.logs import ProgressLine
    from mirex.training.whiten import Window, whiten

    with ProgressLine() as progress:
        fingerprint = whiten(
            args.weights,
            recordings=args.recordings,
            output=args.output,
            views=args.views,
            chroma_weight=args.chroma_weight,
            second_order_weight=args.second_order_weight,
            second_order_tilt=args.second_order_tilt,
            second_order_phases=args.second_order_phases,
            window=Window(*args.window) if args.window else None,
            chroma_window=Window(*args.chroma_window) if args.chroma_window else None,
            power=args.power,
            shrinkage=args.shrinkage,
            seed=args.seed,
            calibration=read_calibration(args.calibration),
            results=read_object(args.results),
            date=args.date,
            progress=progress,
        )
    print(f"weights {fingerprint} in {args.output}")
    return 0
