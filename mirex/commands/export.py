"""`mirex export`: the network as an ONNX file, for other runtimes."""

import argparse
import os
from pathlib import Path
from typing import Any


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "export",
        help="the network as an ONNX file",
        description="Write the network as an ONNX file: input 'windows' [windows, 1, bins, steps], outputs "
        "'embedding' and 'moments' [windows, dimensions], both before whitening: not the embeddings that are "
        "compared. Needs the extra `export`. Exit status: 0 complete, 1 failed, 2 usage error.",
        allow_abbrev=False,
    )
    parser.add_argument("output", type=Path, help="the file to write")
    parser.add_argument(
        "--weights", metavar="FILE", default=os.environ.get("MIREX_WEIGHTS"),
        help="weights to use instead of the shipped ones",
    )  # fmt: skip
    parser.add_argument(
        "--view", choices=("cqt", "chroma"), default="cqt", help="view that is the input (default cqt)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Load the weights and write the file."""
    from mirex.model.backend import export_onnx
    from mirex.model.weights import load

    sealed = load(Path(args.weights) if args.weights else None)
    export_onnx(sealed, args.output, view=args.view)
    print(f"network of weights {sealed.fingerprint} in {args.output}")
    return 0
