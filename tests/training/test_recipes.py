"""Recipes as files: what they may say, what overrides them, and those of the runs behind the weights."""

import argparse
import dataclasses
import json
from pathlib import Path

import pytest

from mirex.commands.train import add_parser
from mirex.errors import UsageError
from mirex.model import weights
from mirex.training.options import given, leaves
from mirex.training.plan import make_plan, read_values
from mirex.training.recipe import check
from mirex.training.settings import Corpus, Recipe, RunSettings

ROOT = Path(__file__).resolve().parents[2]
RUNS = sorted((ROOT / "weights" / "recipes").glob("run*.toml"))


def _plan(*arguments):
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    args = parser.parse_args(["train", "folder", *map(str, arguments)])
    return make_plan(read_values(args.recipe, flags=given(args)), folder=args.folder)


def _write(path, text):
    path.write_text(text, "utf-8")
    return path


RECIPE = """
fold_share = 0.4
[data]
scores = ["scores.npz", "more.npz"]
links = "links.tsv"
[run]
processes = 3
minutes = 5
[batch]
works = [3, 4]
[loop]
learning_rate = 1e-3
seed = 7
[network]
embedding_size = 512
"""


def test_a_recipe_is_read_and_flags_override_it(tmp_path):
    path = _write(tmp_path / "recipe.toml", RECIPE)
    plan = _plan("--recipe", path)
    assert plan.recipe.fold_share == 0.4
    assert plan.recipe.batch == dataclasses.replace(Recipe().batch, works=(3, 4))
    assert (plan.recipe.loop.learning_rate, plan.recipe.loop.seed) == (1e-3, 7)
    assert plan.recipe.network.embedding_size == 512
    assert plan.corpus.scores == (Path("scores.npz"), Path("more.npz"))
    assert plan.corpus.links == Path("links.tsv")
    assert (plan.settings.processes, plan.settings.minutes) == (3, 5.0)
    more = _plan(
        "--recipe", path, "--works", 5, 6, "--seed", 9, "--fold-share", 0.1, "--corpus", tmp_path,
        "--no-match-level", "--minutes", 2, "--strength", 0.7, "--embedding-size", 256,
    )  # fmt: skip
    assert more.recipe.batch.works == (5, 6)
    assert more.recipe.batch.end_strength == 0.7
    assert (more.recipe.loop.seed, more.recipe.fold_share) == (9, 0.1)
    assert not more.recipe.stitching.match_level
    assert more.corpus.scores == (tmp_path / "scores.npz", tmp_path / "more.npz")
    assert more.settings.minutes == 2.0
    assert more.recipe.network.embedding_size == 256
    assert _plan().recipe == Recipe()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[batch]\nwork = [3]", r"unknown option recipe.batch.work; choose from .*recipe.batch.works"),
        ("[batch]\nworks = 3", "recipe.batch.works = 3: give a list"),
        ("[batch]\nversions = 2.5", "recipe.batch.versions = 2.5: give a value of type int"),
        ("[loop]\nlearning_rate = true", "recipe.loop.learning_rate = True: give a value of type float"),
        ('[loop]\ntriplet_features = "neck"', "give one of unit, pooled, embedding"),
        ("[batch", "recipe.toml: not TOML"),
    ],
)
def test_what_a_recipe_cannot_say_is_named(tmp_path, text, message):
    with pytest.raises(UsageError, match=message):
        _plan("--recipe", _write(tmp_path / "recipe.toml", text))
    with pytest.raises(UsageError, match="none.toml: No such file"):
        _plan("--recipe", tmp_path / "none.toml")


def test_every_option_of_a_recipe_is_a_flag_with_help():
    parser = argparse.ArgumentParser()
    subparsers = parser.add_subparsers()
    add_parser(subparsers)
    text = " ".join(subparsers.choices["train"].format_help().split())
    for cls in (Corpus, RunSettings, Recipe):
        for leaf in leaves(cls):
            if "help" in leaf.metadata:
                assert leaf.metadata["help"].split()[0] in text
                name = leaf.metadata["flag"] or leaf.path.rpartition(".")[2]
                assert f"--{name.replace('_', '-')} " in text, leaf.path


@pytest.fixture(scope="module")
def training():
    return json.loads(weights.read_metadata(weights.default_path())["training"])


@pytest.mark.parametrize("name", ["next", "next-cpu"])
def test_the_next_run_can_be_made(name):
    plan = _plan("--recipe", ROOT / "weights" / "recipes" / f"{name}.toml", "--corpus", "there", "--seed", 5)
    check(plan.corpus, plan.recipe)
    assert plan.corpus.sources == ("scores", "chroma", "recordings")
    assert plan.recipe.chroma_stitching == 1.0


def test_there_are_twelve_runs_behind_the_weights():
    assert [path.stem for path in RUNS] == [f"run{number:02}" for number in range(1, 13)]


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_a_recipe_says_what_the_weights_say_of_the_run(path, training):
    """As far as the metadata of the weights go back; options that came later are at what they were before."""
    plan = _plan("--recipe", path)
    check(plan.corpus, plan.recipe)
    found = json.loads(json.dumps(dataclasses.asdict(plan.recipe)))
    assert any(_agrees(recipe, found) for recipe in _recipes(training))


def _recipes(training):
    """Of all runs behind some weights."""
    while training:
        yield training["recipe"]
        yield from (phase["recipe"] for phase in training.get("history", []))
        training = (training.get("started_from") or {}).get("training")


def _agrees(sealed, found):
    parts = ("batch", "stitching", "loop")
    for part in parts:
        if any(found[part][name] != value for name, value in sealed[part].items()):
            return False
    plain = {name: value for name, value in sealed.items() if not isinstance(value, dict)}
    return all(found[name] == value for name, value in plain.items())
