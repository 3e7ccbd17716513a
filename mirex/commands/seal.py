"""`mirex seal`: a training checkpoint to a sealed weights file."""

import argparse
from pathlib import Path
from typing import Any


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the command to the command line."""
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
        help="weight of the folded view in the embedding, 0 or more (the recipe's)",
    )
    parser.add_argument("--start", type=Path, metavar="WEIGHTS", help="the weights that the run started from")
    parser.add_argument(
        "--start-share", type=float, default=0.0, help="share of --start to mix in, 0 to below 1 (0)"
    )
    parser.add_argument("--date", help="ISO date of the weights (today)")
    parser.add_argument(
        "--full", action="store_true", help="store large tensors as float32 instead of float16"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Read the JSON files and seal."""
    import json

    from mirex.training.seal import seal

    def read(path: Path | None) -> Any:
        return json.loads(path.read_text(encoding="utf-8")) if path else None

    fingerprint = seal(
        args.checkpoint,
        path=args.output,
        results=read(args.results),
        calibration=read(args.calibration),
        chroma_weight=args.chroma_weight,
        start=args.start,
        start_share=args.start_share,
        date=args.date,
        half=not args.full,
    )
    print(f"weights {fingerprint} in {args.output}")
    return 0
