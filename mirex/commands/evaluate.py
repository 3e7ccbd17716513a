"""`mirex evaluate`: MIREX's tables from a matrix and a cliques file."""

import argparse
import json
from typing import TYPE_CHECKING, Any

from mirex.commands import seed

if TYPE_CHECKING:
    from mirex.evaluation.evaluate import Comparison, Evaluation, Interval
    from mirex.evaluation.hubness import Hubness


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the command to the argument tree."""
    parser = subparsers.add_parser(
        "evaluate",
        help="MIREX metrics of a distance matrix",
        description="Print MIREX's tables for a distance matrix of any system, followed by figures that "
        "newer papers report, how many unrelated recordings are close together, and hubs.",
        allow_abbrev=False,
    )
    parser.add_argument("matrix", help="distance matrix in the MIREX format")
    parser.add_argument("cliques", help="text file: path<TAB>clique on each line, paths as in the matrix")
    parser.add_argument("--against", metavar="MATRIX", help="another system's matrix, for paired differences")
    parser.add_argument(
        "--resample",
        choices=("cliques", "queries"),
        default="cliques",
        help="what to draw: whole cliques or single queries (default cliques)",
    )
    parser.add_argument(
        "--resamples", type=int, default=2000, metavar="N", help="bootstrap resamples (default 2000)"
    )
    parser.add_argument("--level", type=float, default=0.95, help="confidence level (default 0.95)")
    parser.add_argument(
        "--interval",
        choices=("percentile", "bca"),
        default="percentile",
        help="kind of bootstrap interval; bca is corrected for bias and skewness (default percentile)",
    )
    parser.add_argument(
        "--permutations",
        type=int,
        default=10_000,
        metavar="N",
        help="permutations of the paired test (default 10000)",
    )
    parser.add_argument("--seed", type=seed, default=0, help="seed of the random draws (default 0)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--explain", action="store_true", help="add the definitions of all figures")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Evaluate, print, return the exit status."""
    import numpy as np

    from mirex.evaluation import evaluate

    ours, found = _evaluate(args.matrix, args)
    drawing = {
        "resample": args.resample,
        "resamples": args.resamples,
        "level": args.level,
        "method": args.interval,
    }
    summary = evaluate.summarise(ours, generator=np.random.default_rng(args.seed), **drawing)
    comparison = None
    if args.against:
        comparison = evaluate.compare(
            ours,
            _evaluate(args.against, args)[0],
            generator=np.random.default_rng(args.seed),
            permutations=args.permutations,
            **drawing,
        )
    show = _json if args.json else _text
    print(show(args, ours, summary, comparison, found))
    return 0


def _evaluate(path: str, args: argparse.Namespace) -> "tuple[Evaluation, Hubness]":
    """Evaluate a matrix file; the matrix is freed on return, so that memory never holds two."""
    from mirex.evaluation.evaluate import evaluate
    from mirex.evaluation.hubness import hubness
    from mirex.formats.cliques import read_cliques
    from mirex.formats.matrix import read_matrix

    cliques = read_cliques(args.cliques)
    matrix = read_matrix(path)
    evaluation = evaluate(matrix, cliques=cliques)
    return evaluation, hubness(matrix, labels=evaluation.labels.numbers)


def _shown(args: argparse.Namespace, found: "Hubness") -> dict[str, Any]:
    return {"level": args.level, "resample": args.resample, "method": args.interval, "hubness": found}


def _json(
    args: argparse.Namespace,
    ours: "Evaluation",
    summary: "dict[str, Interval]",
    comparison: "Comparison | None",
    found: "Hubness",
) -> str:
    from mirex.evaluation import tables

    result = tables.evaluation_json(ours, summary, **_shown(args, found))
    if comparison:
        result["against"] = tables.comparison_json(comparison)
    if args.explain:
        result["explanation"] = tables.explanation_json()
    return json.dumps(result, indent=2)


def _text(
    args: argparse.Namespace,
    ours: "Evaluation",
    summary: "dict[str, Interval]",
    comparison: "Comparison | None",
    found: "Hubness",
) -> str:
    from mirex.evaluation import tables

    parts = [tables.evaluation_text(ours, summary, **_shown(args, found))]
    parts += [tables.comparison_text(comparison, level=args.level)] if comparison else []
    parts += [tables.explanation_text()] if args.explain else []
    return "\n\n".join(parts)
