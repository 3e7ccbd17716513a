"""What a setting of the training gains: short trainings that differ in nothing else.

    python tests/benchmarks/training_ablation.py stitching corpus --seeds 2
    python tests/benchmarks/training_ablation.py levels-and-keys corpus --patches timgm6mb.npz fluidr3.npz
    python tests/benchmarks/training_ablation.py rate corpus
    python tests/benchmarks/training_ablation.py backwards corpus --steps 1600
    python tests/benchmarks/training_ablation.py voiced corpus --steps 900 --patches timgm6mb.npz fluidr3.npz

A network of a quarter of the width learns from real covers (hpcp.npz), or, where the experiment is about
levels and keys, from rendered scores, or from both; the figures are the mAP of the averaged weights on
validation works of the same kind and, where it learned from both, on the anthems in each view.
"""

import argparse
import dataclasses
import itertools
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from mirex.settings import NetworkSettings
from mirex.training.loop import Trainer, train, validate
from mirex.training.recipe import make_batches, validation_sets
from mirex.training.settings import BatchSettings, Corpus, LoopSettings, Recipe


class Experiment(NamedTuple):
    """source: what is learned from. part: of the recipe, None for the recipe itself. arms: what each
    changes in that part.
    """

    source: str
    part: str | None
    arms: dict[str, dict[str, Any]]


NETWORK = NetworkSettings(embedding_size=512)
BATCH = BatchSettings(
    works=(16,), versions=3, lengths=(64,), chroma_lengths=(64,), curriculum_steps=2000, end_strength=0.5
)
RATE = 5e-3  # narrow networks have larger weights and bear a higher rate than the full one
EXPERIMENTS = {
    "stitching": Experiment(
        "chroma",
        "stitching",
        {
            "none": {"probability": 0.0},
            "as chosen": {},
            "60 % stitched": {"probability": 0.6},
            "all stitched": {"probability": 1.0},
            "2 parts": {"segments": 2},
            "5 parts, shortest 8": {"segments": 5, "shortest": 8},
        },
    ),
    "levels-and-keys": Experiment(
        "scores",
        "stitching",
        {
            "none": {"probability": 0.0},
            "as chosen": {},
            "levels as they are": {"match_level": False},
            "each part in a key of its own": {"share_key": False},
        },
    ),
    "rate": Experiment(
        "chroma", "loop", {f"{rate:g}": {"learning_rate": rate} for rate in (6e-4, 2e-3, 5e-3, 1e-2)}
    ),
    "backwards": Experiment(
        "chroma", None, {f"{weight:g}": {"backwards_weight": weight} for weight in (0.0, 0.5, 1.0)}
    ),
    "voiced": Experiment(
        "both",
        None,
        {
            f"{share:g}": {
                "voiced_share": share,
                "fold_share": 0.4,
                "batch": dataclasses.replace(BATCH, works=(8, 8), chroma_lengths=(96,)),
            }
            for share in (0.0, 0.55)
        },
    ),
}
MEASURED = {
    "chroma": ("chroma",),
    "scores": ("scores",),
    "both": ("scores", "anthems", "anthems_chroma", "chroma"),
}


def recipe_of(experiment: Experiment, arm: str, *, steps: int, seed: int) -> Recipe:
    """The common recipe with one arm's changes."""
    loop = LoopSettings(
        steps=steps,
        decay_steps=steps // 3,
        learning_rate=RATE,
        average_decay=0.99,
        seed=seed,
        validate_every=steps + 1,
        checkpoint_every=steps + 1,
    )
    recipe = Recipe(network=NETWORK, batch=BATCH, loop=loop)
    changes = experiment.arms[arm]
    if experiment.part is None:
        return dataclasses.replace(recipe, **changes)
    part = dataclasses.replace(getattr(recipe, experiment.part), **changes)
    return dataclasses.replace(recipe, **{experiment.part: part})


def measure(corpus: Corpus, *, recipe: Recipe) -> dict[str, float]:
    """Train once; mAP of the averaged weights on each validation set."""
    maker = make_batches(corpus, recipe=recipe)
    trainer = Trainer(maker.works, settings=recipe.loop, embedding_size=NETWORK.embedding_size)
    with tempfile.TemporaryDirectory() as folder:
        train(
            trainer,
            batches=map(maker.batch, range(recipe.loop.steps)),
            validation={},
            folder=Path(folder),
            metadata={},
            report=lambda line: None,
        )
    return validate(trainer, validation_sets(corpus, recipe=recipe))


def corpus_of(source: str, folder: Path, *, patches: tuple[Path, ...]) -> Corpus:
    """The files that an experiment needs."""
    chroma, scores = folder / "hpcp.npz", folder / "scores.npz"
    return {
        "chroma": Corpus(chroma=(chroma,)),
        "scores": Corpus(scores=(scores,), patches=patches),
        "both": Corpus(scores=(scores,), chroma=(chroma,), anthems=folder / "anthems.npz", patches=patches),
    }[source]


def main() -> None:
    """Print a line an arm as it is done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("experiment", choices=sorted(EXPERIMENTS))
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--patches", type=Path, nargs="+", default=[])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    experiment = EXPERIMENTS[args.experiment]
    corpus = corpus_of(experiment.source, args.corpus, patches=tuple(args.patches))
    results: dict[tuple[str, str], list[float]] = {}
    for seed, arm in itertools.product(range(1, args.seeds + 1), experiment.arms):
        recipe = recipe_of(experiment, arm, steps=args.steps, seed=seed)
        figures = measure(corpus, recipe=recipe)
        for name in MEASURED[experiment.source]:
            results.setdefault((arm, name), []).append(figures[name])
            print(f"seed {seed}: {arm}: {name} {figures[name]:.3f}", flush=True)
    for (arm, name), found in results.items():
        print(f"| {arm} | {name} | {np.mean(found):.3f} | {' '.join(f'{f:.3f}' for f in found)} |")


if __name__ == "__main__":
    main()
