"""A plan: what to train on, how, and for how long, from a recipe file and the flags that override it.

`mirex.training.settings` has the options; `mirex.training.options` reads them.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mirex.errors import UsageError
from mirex.training.options import build, check_known, leaves, read_toml
from mirex.training.run import CHECKPOINT, choose_seed
from mirex.training.settings import Corpus, Recipe, RunSettings


@dataclasses.dataclass(frozen=True)
class Plan:
    """All options of a run.

    Attributes
    ----------
    corpus : Corpus
        The data.
    recipe : Recipe
        What to learn, and how.
    settings : RunSettings
        Where and for how long to compute.
    """

    corpus: Corpus
    recipe: Recipe
    settings: RunSettings


def read_values(recipe: Path | None, *, flags: Mapping[str, Any]) -> dict[str, Any]:
    """Combine the options of a recipe file with flags, which override it.

    Parameters
    ----------
    recipe : Path or None
        A TOML file.
    flags : mapping of str to object
        By path, as `mirex.training.options.given` returns them.

    Returns
    -------
    dict of str to object
        By path.

    Raises
    ------
    UsageError
        If the file cannot be read, or has an unknown option.
    """
    values: dict[str, Any] = {}
    if recipe:
        tables = ("data.", "run.")
        for path, value in read_toml(recipe).items():
            values[path if path.startswith(tables) else f"recipe.{path}"] = value
        known = [*leaves(Corpus, "data."), *leaves(RunSettings, "run."), *leaves(Recipe, "recipe.")]
        check_known(values, known, source=recipe)
    return values | dict(flags)


def make_plan(values: Mapping[str, Any], *, folder: Path) -> Plan:
    """Turn options into a plan.

    Parameters
    ----------
    values : mapping of str to object
        By path, as `read_values` returns them.
    folder : Path
        Of the run.

    Returns
    -------
    Plan
        If no seed is given, it has the folder's, or one that no run behind the start has used.

    Raises
    ------
    UsageError
        For an invalid value.
    """
    settings = build(RunSettings, values, prefix="run.")
    for name, least in (("threads", 1), ("processes", 0)):
        if getattr(settings, name) < least:
            raise UsageError(f"{name} {getattr(settings, name)}: give {least} or more")
    corpus = dataclasses.replace(
        build(Corpus, values, prefix="data.").located(),
        scratch=folder / "scratch",
        decoders=max(settings.processes, 1),
    )
    recipe = build(Recipe, values, prefix="recipe.")
    inner = {path.removeprefix("recipe."): value for path, value in values.items()}
    seed = choose_seed(inner, checkpoint=folder / CHECKPOINT, start=settings.start_from)
    loop = dataclasses.replace(recipe.loop, seed=seed)
    return Plan(corpus, dataclasses.replace(recipe, loop=loop), settings)
