"""`mirex calibrate`: distances of known pairs to a calibration of probabilities."""

import argparse
import re
from pathlib import Path
from typing import Any

from mirex.commands import seed


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the command to the argument tree."""
    parser = subparsers.add_parser(
        "calibrate",
        help="fit the probabilities of compare and search",
        description="Fit a calibration on distance matrices of recordings that the network was not trained "
        "on; all matrices have equal weight. 'mirex seal' and 'mirex whiten' seal it into weights. Exit "
        "status: 0 complete, 1 failed, 2 usage error.",
        allow_abbrev=False,
    )
    parser.add_argument("output", help="the JSON file to write")
    parser.add_argument(
        "--on",
        nargs=3,
        action="append",
        required=True,
        metavar=("NAME", "MATRIX", "CLIQUES"),
        help="a data set: its name, a distance matrix, a cliques file; repeat it for each set",
    )
    parser.add_argument("--into", metavar="WEIGHTS", help="also seal the calibration into this weights file")
    parser.add_argument("--seed", type=seed, default=0, help="seed for drawing unrelated pairs (default 0)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Fit, write, and print what the calibration is based on."""
    import numpy as np

    from mirex.errors import MirexError
    from mirex.evaluation.evaluate import evaluate
    from mirex.files import write_whole
    from mirex.formats.cliques import read_cliques
    from mirex.formats.matrix import read_matrix
    from mirex.model import weights
    from mirex.retrieval.calibration import METADATA_KEY, fit, pairs_of_matrix

    generator, sets = np.random.default_rng(args.seed), []
    sealed = weights.fingerprint(weights.read_metadata(Path(args.into))) if args.into else None
    for name, path, cliques in args.on:
        matrix = read_matrix(path)
        _check(path, matrix.system, sealed)
        evaluation = evaluate(matrix, cliques=read_cliques(cliques))
        sets.append(pairs_of_matrix(matrix, evaluation, name=name, generator=generator))
    calibration = fit(sets)
    try:
        write_whole(args.output, calibration.to_json() + "\n")
    except OSError as error:
        raise MirexError(
            f"calibration {args.output} cannot be written: {error.strerror}; name another file"
        ) from error
    if args.into:
        weights.replace_metadata(Path(args.into), entries={METADATA_KEY: calibration.to_json()})
    print(calibration.describe())
    return 0


def _check(path: str, system: str, sealed: str | None) -> None:
    """Check that a matrix holds cosine distances, of these weights if it names any."""
    from mirex.errors import UsageError

    if system.endswith(", csls"):
        raise UsageError(f"{path}: its values are those of --hubness csls, not distances; make it without")
    made_by = re.search(r"weights ([0-9a-f]{16})", system)
    if sealed and made_by and made_by[1] != sealed:
        raise UsageError(f"{path}: made with the weights {made_by[1]}, not {sealed}; make it with these")
