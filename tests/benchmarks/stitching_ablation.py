"""What spectrum stitching gains, and which of its settings: short trainings that differ in nothing else.

    python tests/benchmarks/stitching_ablation.py chroma corpus --seeds 2
    python tests/benchmarks/stitching_ablation.py scores corpus --patches timgm6mb.npz fluidr3.npz

A network of a quarter of the width learns from real covers (hpcp.npz), or from rendered scores, where levels
and keys of the parts can be matched; the figure is the mAP of the averaged weights on validation works, real
covers in the first case, rendered scores in the second.
"""

import argparse
import dataclasses
import itertools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mirex.settings import NetworkSettings
from mirex.training.batches import BatchSettings
from mirex.training.loop import LoopSettings, Trainer, train, validate
from mirex.training.recipe import Corpus, Recipe, make_batches, validation_sets
from mirex.training.stitching import StitchSettings

NETWORK = NetworkSettings(embedding_size=512)
BATCH = BatchSettings(works=(16,), versions=3, lengths=(64,), curriculum_steps=2000, end_strength=0.5)
CHOSEN = StitchSettings()
ARMS: dict[str, dict[str, dict[str, Any]]] = {
    "chroma": {
        "none": {"probability": 0.0},
        "as chosen": {},
        "60 % stitched": {"probability": 0.6},
        "all stitched": {"probability": 1.0},
        "2 parts": {"segments": 2},
        "5 parts, shortest 8": {"segments": 5, "shortest": 8},
    },
    "scores": {
        "none": {"probability": 0.0},
        "as chosen": {},
        "levels as they are": {"match_level": False},
        "each part in a key of its own": {"share_key": False},
    },
}


def measure(corpus: Corpus, *, set_name: str, stitching: StitchSettings, steps: int, seed: int) -> float:
    """Train once; mAP of the averaged weights."""
    loop = LoopSettings(
        steps=steps, decay_steps=steps // 3, average_decay=0.99, seed=seed, validate_every=steps + 1
    )
    recipe = Recipe(network=NETWORK, batch=BATCH, stitching=stitching, loop=loop)
    maker = make_batches(corpus, recipe=recipe)
    trainer = Trainer(maker.works, settings=loop, embedding_size=NETWORK.embedding_size)
    with tempfile.TemporaryDirectory() as folder:
        train(
            trainer,
            make_batches=lambda: maker,
            validation={},
            folder=Path(folder),
            metadata={},
            report=lambda line: None,
        )
    return validate(trainer, validation_sets(corpus, recipe=recipe))[set_name]


def main() -> None:
    """Print a line an arm as it is done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("set", choices=sorted(ARMS))
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--patches", type=Path, nargs="+", default=[])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    corpus = {
        "chroma": Corpus(chroma=args.corpus / "hpcp.npz"),
        "scores": Corpus(scores=args.corpus / "scores.npz", patches=tuple(args.patches)),
    }[args.set]
    results: dict[str, list[float]] = {}
    for seed, (name, changes) in itertools.product(range(1, args.seeds + 1), ARMS[args.set].items()):
        stitching = dataclasses.replace(CHOSEN, **changes)
        figure = measure(corpus, set_name=args.set, stitching=stitching, steps=args.steps, seed=seed)
        results.setdefault(name, []).append(figure)
        print(f"seed {seed}: {name}: {figure:.3f}", flush=True)
    for name, figures in results.items():
        print(f"| {name} | {np.mean(figures):.3f} | {' '.join(f'{f:.3f}' for f in figures)} |")


if __name__ == "__main__":
    main()
