"""`mirex train`: from a corpus to a checkpoint, resumable. `mirex.training.settings` has the options."""

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mirex.training.settings import Corpus, Recipe, RunSettings

EMBEDDING_SIZE = {
    "recipe.network.embedding_size": "2048; 256, 512 or 1024 for a narrower network, for experiments"
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
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Read the recipe and train."""
    from mirex.extras import need

    need(("numba", "mido"), extra="train")
    from mirex.training import run as training

    plan = options_of(args)
    if not has_matplotlib():
        _say("no curve will be plotted: matplotlib is missing; install it with: pip install 'mirex[plots]'")
    step = training.run(
        args.folder, corpus=plan.corpus, recipe=plan.recipe, settings=plan.settings, report=_say
    )
    checkpoint = args.folder / training.CHECKPOINT
    _say(f"trained to step {step}; seal it with: mirex seal {checkpoint} weights.safetensors")
    return 0


@dataclasses.dataclass(frozen=True)
class Plan:
    """The options of file and flags combined."""

    corpus: "Corpus"
    recipe: "Recipe"
    settings: "RunSettings"


def options_of(args: argparse.Namespace) -> Plan:
    """Combine the options of the recipe file and the flags, which override it.

    Parameters
    ----------
    args : Namespace
        Of the command line.

    Returns
    -------
    Plan

    Raises
    ------
    UsageError
        For an unknown option, or an invalid value.
    """
    from mirex.training.options import build
    from mirex.training.run import CHECKPOINT, choose_seed
    from mirex.training.settings import Corpus, Recipe, RunSettings

    values = read_values(args)
    settings = build(RunSettings, values, prefix="run.")
    corpus = dataclasses.replace(
        build(Corpus, values, prefix="data.").located(),
        scratch=args.folder / "scratch",
        decoders=max(settings.processes, 1),
    )
    recipe = build(Recipe, values, prefix="recipe.")
    inner = {path.removeprefix("recipe."): value for path, value in values.items()}
    seed = choose_seed(inner, checkpoint=args.folder / CHECKPOINT, start=settings.start_from)
    loop = dataclasses.replace(recipe.loop, seed=seed)
    return Plan(corpus, dataclasses.replace(recipe, loop=loop), settings)


def read_values(args: argparse.Namespace) -> dict[str, Any]:
    """Read the options of the recipe file and the flags, which override it.

    Parameters
    ----------
    args : Namespace
        Of the command line.

    Returns
    -------
    dict of str to object
        By path.

    Raises
    ------
    UsageError
        For an unknown option.
    """
    from mirex.training.options import check_known, given, leaves, read_toml
    from mirex.training.settings import Corpus, Recipe, RunSettings

    values: dict[str, Any] = {}
    if args.recipe:
        tables = ("data.", "run.")
        for path, value in read_toml(args.recipe).items():
            values[path if path.startswith(tables) else f"recipe.{path}"] = value
        known = [*leaves(Corpus, "data."), *leaves(RunSettings, "run."), *leaves(Recipe, "recipe.")]
        check_known(values, known, source=args.recipe)
    return values | given(args)


def has_matplotlib() -> bool:
    """Whether the curve can be drawn.

    Returns
    -------
    bool
    """
    from importlib.util import find_spec

    return find_spec("matplotlib") is not None


def _say(line: str) -> None:
    print(line, flush=True)
