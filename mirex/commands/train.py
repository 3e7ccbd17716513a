"""`mirex train`: from a corpus to a checkpoint, resumable. `mirex.training.settings` has the options."""

import argparse
from pathlib import Path
from typing import Any

EMBEDDING_SIZE = {
    "recipe.network.embedding_size": "dimensions; 256, 512 or 1024 for a narrower network (2048)"
}


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the command to the command line."""
    from mirex.training.options import add_flags
    from mirex.training.settings import Corpus, Recipe, RunSettings

    parser = subparsers.add_parser(
        "train",
        help="train the network",
        description="Train on any of three sources: scores, chroma, recordings. The run writes "
        "checkpoint.safetensors, log.jsonl and curve.png to its folder; the same command resumes it. "
        "A recipe is a TOML file with the tables data, run, network, batch, stitching and loop; flags "
        "override it. Exit status: 0 complete, 1 failed, 2 usage error.",
        allow_abbrev=False,
    )
    parser.add_argument("folder", type=Path, help="folder of the run; created if missing")
    parser.add_argument(
        "--recipe", type=Path, metavar="FILE", help="a TOML file like those in weights/recipes"
    )
    add_flags(parser.add_argument_group("data"), Corpus, prefix="data.")
    add_flags(parser.add_argument_group("run"), RunSettings, prefix="run.")
    add_flags(parser.add_argument_group("recipe"), Recipe, prefix="recipe.", help=EMBEDDING_SIZE)
    parser.set_defaults(run=run, resumes=True)


def run(args: argparse.Namespace) -> int:
    """Read the recipe and train."""
    from mirex.extras import how_to_install, need

    need(("numba", "mido"), extra="train")
    from mirex.training import run as training
    from mirex.training.options import given
    from mirex.training.plan import make_plan, read_values

    plan = make_plan(read_values(args.recipe, flags=given(args)), folder=args.folder)
    if not has_matplotlib():
        _say(f"no curve will be plotted: matplotlib is missing; {how_to_install('plots')}")
    step = training.run(
        args.folder, corpus=plan.corpus, recipe=plan.recipe, settings=plan.settings, report=_say
    )
    checkpoint = args.folder / training.CHECKPOINT
    _say(f"trained to step {step}; seal it with: mirex seal {checkpoint} weights.safetensors")
    return 0


def has_matplotlib() -> bool:
    """Whether the curve can be plotted.

    Returns
    -------
    bool
    """
    from importlib.util import find_spec

    return find_spec("matplotlib") is not None


def _say(line: str) -> None:
    print(line, flush=True)
