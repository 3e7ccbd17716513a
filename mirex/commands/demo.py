"""`mirex demo`: the bundled recordings, from audio to the report page."""

import argparse
import os
from pathlib import Path
from typing import Any


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the command to the argument tree."""
    parser = subparsers.add_parser(
        "demo",
        help="try it on the bundled recordings",
        description="Extract the ten bundled recordings and write their distance matrix and a report page. "
        "The page needs the extra `plots`.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "folder", nargs="?", default="mirex-demo", help="where to write (default: mirex-demo)"
    )
    parser.add_argument("--open", action="store_true", help="open the page in the web browser")
    parser.set_defaults(run=run, resumes=True)


def run(args: argparse.Namespace) -> int:
    """Make matrix and page; print their paths."""
    from mirex.demo import run_demo

    made = run_demo(Path(args.folder), weights=os.environ.get("MIREX_WEIGHTS"))
    print(f"matrix: {made.matrix}\nreport: {made.report}")
    if args.open:
        import webbrowser

        webbrowser.open(made.report.resolve().as_uri())
    return 0
