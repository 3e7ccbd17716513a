"""A training run in a folder, from the beginning or resumed from its checkpoint."""

import dataclasses
import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from mirex.errors import TrainingError, UsageError
from mirex.extraction.extract import resolve_device
from mirex.model import weights
from mirex.training.batches import Batch, stream
from mirex.training.checkpoint import read_metadata
from mirex.training.echoes import echoed, needed, uses
from mirex.training.loop import Trainer, train
from mirex.training.plot import plot_log
from mirex.training.recipe import (
    changed_recipes,
    check,
    make_batches,
    prepare,
    summary,
    unused_seed,
    validation_sets,
)
from mirex.training.settings import Corpus, Recipe, RunSettings

IMPRINT_WORKS = 128  # a batch
CHECKPOINT = "checkpoint.safetensors"

Report = Callable[[str], None]


def run(folder: Path, *, corpus: Corpus, recipe: Recipe, settings: RunSettings, report: Report) -> int:
    """Train in a folder, or resume the run there.

    Parameters
    ----------
    folder : Path
        For checkpoint.safetensors, log.jsonl and, if matplotlib is installed, curve.png; created if missing.
    corpus : Corpus
        The data.
    recipe : Recipe
        What to learn, and how.
    settings : RunSettings
        Where and for how long to compute.
    report : callable
        Called with lines of progress.

    Returns
    -------
    int
        The last step.

    Raises
    ------
    UsageError, TrainingError, WeightsError
        As in `make_batches`, `Trainer.load` and `Trainer.start_from`; or if the run in the folder had other
        works, or another order of works.
    """
    deadline = time.monotonic() + 60 * settings.minutes
    torch.set_num_threads(settings.threads)
    device, checkpoint = resolve_device(settings.device), folder / CHECKPOINT
    check(corpus, recipe)
    report(f"seed {recipe.loop.seed}")
    prepared = prepare(corpus, report=report)
    maker = make_batches(prepared, recipe=recipe)
    size = recipe.network.embedding_size
    trainer = Trainer(maker.works, settings=recipe.loop, embedding_size=size, device=device)
    _make(folder)
    if checkpoint.exists():
        _check_works(checkpoint, digest=maker.digest)
    origin = _begin(trainer, recipe, checkpoint=checkpoint, start=settings.start_from, report=report)
    new = trainer.step == 0 and origin["started_from"] is not None
    new &= recipe.loop.classification_weight > 0 or recipe.loop.center_weight > 0
    portions = maker.portions(works=IMPRINT_WORKS) if new else []
    steps = list(enumerate(uses(recipe.loop.steps, echoes=recipe.batch.echoes)))[trainer.step :]
    numbers = needed(steps)
    further = range(numbers.stop, numbers.stop + recipe.loop.statistics_batches) if steps else range(0)
    batches = stream(
        partial(make_batches, prepared, recipe=recipe) if settings.processes else lambda: maker,
        wanted=[*portions, *numbers, *further],
        processes=settings.processes,
        pinned=device == "cuda",
    )
    if portions:
        report(f"imprinting {maker.works} works")
        trainer.imprint(itertools.islice(batches, len(portions)))
    train(
        trainer,
        batches=itertools.chain(echoed(batches, steps=steps, seed=recipe.loop.seed), batches),
        validation=validation_sets(corpus, recipe=recipe) if recipe.loop.validate_every else {},
        folder=folder,
        metadata={
            "recipe": dataclasses.asdict(recipe),
            "data": summary(corpus),
            "works": maker.works,
            "works_digest": maker.digest,
            **origin,
        },
        report=report,
        deadline=deadline,
    )
    _plot(folder, report)
    return trainer.step


def statistics_batches(checkpoint: Path, *, corpus: Corpus, count: int) -> Iterator[Batch]:
    """Batches of a run's recipe that the run has not drawn, for BatchNorm's statistics.

    Parameters
    ----------
    checkpoint : Path
        Of the run.
    corpus : Corpus
        The run's data.
    count : int
        How many.

    Yields
    ------
    Batch

    Raises
    ------
    UsageError, TrainingError
        As `make_batches` raises them.
    """
    found = read_metadata(checkpoint)
    maker = make_batches(corpus, recipe=Recipe.from_metadata(found["recipe"]))
    yield from map(maker.batch, range(found["step"], found["step"] + count))


def choose_seed(values: Mapping[str, Any], *, checkpoint: Path, start: Path | None) -> int:
    """Choose the seed: the one given, the checkpoint's, one that no run behind the start has used, or 1.

    Parameters
    ----------
    values : mapping of str to object
        The options given, by path.
    checkpoint : Path
        Of the run, if there is one.
    start : Path, optional
        Sealed weights that the run starts from.

    Returns
    -------
    int
    """
    if "loop.seed" in values:
        return int(values["loop.seed"])
    if checkpoint.exists():
        return int(read_metadata(checkpoint)["recipe"]["loop"]["seed"])
    if start:
        return unused_seed(json.loads(weights.read_metadata(start)["training"]))
    return 1


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"run folder {folder}: {error.strerror}; name another folder") from error


def _check_works(checkpoint: Path, *, digest: str) -> None:
    """Refuse to go on where labels would mean other works; old checkpoints do not say what they mean."""
    if read_metadata(checkpoint).get("works_digest", digest) != digest:
        raise TrainingError(
            f"the data have other works, or another order of works, than the run in {checkpoint.parent}; "
            "restore them or start in a new folder"
        )


def _begin(
    trainer: Trainer, recipe: Recipe, *, checkpoint: Path, start: Path | None, report: Report
) -> dict[str, Any]:
    """Resume from the checkpoint, or begin with the weights of `start`, if any; returns their metadata."""
    if checkpoint.exists():
        earlier = trainer.load(checkpoint)
        report(f"resuming from step {trainer.step}")
        history = changed_recipes(earlier, recipe=dataclasses.asdict(recipe))
        return {"history": history, "started_from": earlier.get("started_from")}
    return {"history": [], "started_from": trainer.start_from(start) if start else None}


def _plot(folder: Path, report: Report) -> None:
    """Plot the curve; without matplotlib, which was reported at the start, only say that there is none."""
    try:
        plot_log(folder / "log.jsonl", path=folder / "curve.png")
    except ImportError:
        report(f"no {folder / 'curve.png'}: matplotlib is not installed")
    except OSError as error:
        report(f"no {folder / 'curve.png'}: {error.filename or folder}: {error.strerror}")
