"""`mirex seal`: a training checkpoint to a sealed weights file."""

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mirex.commands import read_calibration, read_object

if TYPE_CHECKING:
    from mirex.training.batches import Batch


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the command to the command line."""
    from mirex.training.options import add_flags
    from mirex.training.settings import Corpus

    parser = subparsers.add_parser(
        "seal",
        help="turn a checkpoint into a sealed weights file",
        description="Write the averaged weights of a checkpoint with their settings, recipe, date, licence "
        "and hash. Exit status: 0 complete, 1 failed, 2 usage error.",
        allow_abbrev=False,
    )
    parser.add_argument("checkpoint", type=Path, help="checkpoint.safetensors of 'mirex train'")
    parser.add_argument("output", type=Path, help="the weights file to write")
    parser.add_argument("--results", type=Path, help="JSON of measured results, for the metadata")
    parser.add_argument("--calibration", type=Path, help="JSON of a calibration, for the metadata")
    parser.add_argument(
        "--chroma-weight",
        type=float,
        help="weight of the chroma view in the embedding, 0 or more (the recipe's)",
    )
    parser.add_argument(
        "--start", type=Path, metavar="WEIGHTS", help="average with the weights that the run started from"
    )
    parser.add_argument(
        "--start-share",
        type=float,
        default=0.0,
        help="share of --start in every tensor (0); above 0, the run's data are needed to recompute the "
        "BatchNorm statistics",
    )
    parser.add_argument(
        "--recipe", type=Path, metavar="FILE", help="the run's TOML file, which names its data"
    )
    parser.add_argument(
        "--statistics-batches",
        type=int,
        default=40,
        metavar="N",
        help="batches for recomputing the statistics (40)",
    )
    add_flags(parser.add_argument_group("data"), Corpus, prefix="data.")
    parser.add_argument("--date", help="ISO date of the weights (today)")
    parser.add_argument(
        "--full", action="store_true", help="store large tensors as float32 instead of float16"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Read the JSON files and seal."""
    from mirex.training.options import build, given
    from mirex.training.plan import read_values
    from mirex.training.run import statistics_batches
    from mirex.training.seal import seal
    from mirex.training.settings import Corpus

    batches: Iterable[Batch] = ()
    if args.start_share > 0:
        corpus = build(Corpus, read_values(args.recipe, flags=given(args)), prefix="data.").located()
        batches = statistics_batches(args.checkpoint, corpus=corpus, count=args.statistics_batches)
    fingerprint = seal(
        args.checkpoint,
        path=args.output,
        results=read_object(args.results),
        calibration=read_calibration(args.calibration),
        chroma_weight=args.chroma_weight,
        start=args.start,
        start_share=args.start_share,
        batches=batches,
        date=args.date,
        half=not args.full,
    )
    print(f"weights {fingerprint} in {args.output}")
    return 0
