"""`mirex report`: one self-contained HTML page from a matrix and a cliques file."""

import argparse
from typing import Any

from mirex.commands import seed


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the command to the argument tree."""
    parser = subparsers.add_parser(
        "report",
        help="HTML report on a distance matrix",
        description="Write one self-contained page: tables, charts, worst cases with links to the audio, and "
        "plots of where missed covers match. Needs the extra `plots`.",
        allow_abbrev=False,
    )
    parser.add_argument("matrix", help="distance matrix in the MIREX format")
    parser.add_argument("cliques", help="text file: path<TAB>clique on each line, paths as in the matrix")
    parser.add_argument("-o", "--output", required=True, metavar="PAGE", help="the page, e.g. report.html")
    parser.add_argument(
        "--worst", type=_count, default=25, metavar="N", help="cliques of lowest MAP to show (default 25)"
    )
    parser.add_argument(
        "--misses", type=_count, default=6, metavar="N", help="missed covers to plot (default 6; 0: none)"
    )
    parser.add_argument(
        "--audio-root",
        default=".",
        metavar="FOLDER",
        help="folder that relative paths start from (default: current)",
    )
    parser.add_argument("--seed", type=seed, default=0, help="seed of the bootstrap (default 0)")
    parser.set_defaults(run=run)


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{value}: give 0 or more")
    return value


def run(args: argparse.Namespace) -> int:
    """Evaluate, write the page, print where it is."""
    import numpy as np

    from mirex.evaluation.evaluate import evaluate
    from mirex.evaluation.report import write_report
    from mirex.formats.cliques import read_cliques
    from mirex.formats.matrix import read_matrix

    cliques = read_cliques(args.cliques)
    matrix = read_matrix(args.matrix)
    write_report(
        args.output,
        matrix=matrix,
        evaluation=evaluate(matrix, cliques=cliques),
        generator=np.random.default_rng(args.seed),
        cliques=args.worst,
        misses=args.misses,
        audio_root=args.audio_root,
    )
    print(f"report: {args.output}")
    return 0
