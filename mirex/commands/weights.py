"""`mirex weights`: describe a sealed weights file."""

import argparse
import os
from pathlib import Path
from typing import Any


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the command to the argument tree."""
    parser = subparsers.add_parser(
        "weights",
        help="describe a weights file",
        description="Print the metadata of a sealed weights file: fingerprint, date, licence, settings, "
        "training data, results. Exit status: 0 complete, 1 damaged or not a weights file, "
        "2 usage error.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "file", type=Path, nargs="?", help="a weights file (default: $MIREX_WEIGHTS or the shipped one)"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--history", action="store_true", help="its training runs, with their recipes")
    form.add_argument("--json", action="store_true", help="print all metadata as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Read the metadata, print them."""
    import json

    from mirex.model import description
    from mirex.model.weights import read_metadata

    named = os.environ.get("MIREX_WEIGHTS")
    metadata = read_metadata(args.file or (Path(named) if named else None))
    if args.json:
        print(json.dumps(description.parsed(metadata), indent=2, sort_keys=True))
    else:
        print(description.history(metadata) if args.history else description.describe(metadata))
    return 0
