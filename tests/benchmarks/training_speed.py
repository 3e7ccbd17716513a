"""How fast a training goes and what holds it up: making batches, the network, and both together.

    python tests/benchmarks/training_speed.py run --processes 14 --works 90 110 --scores scores.npz ...

The arguments are those of `mirex train`; nothing is written. One line of JSON: samples a second of each
(medians of repeats side by side), and how busy the network is in training: 1 where it never waits for
batches.
"""

import argparse
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median

import torch

from mirex.commands.train import add_parser
from mirex.extraction.extract import resolve_device
from mirex.training.batches import Batch, stream
from mirex.training.loop import Trainer
from mirex.training.options import given
from mirex.training.plan import Plan, make_plan, read_values
from mirex.training.recipe import make_batches, prepare

STEPS = 30  # a repeat
REPEATS = 3


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_parser(parser.add_subparsers())
    args = parser.parse_args(["train", *sys.argv[1:]])
    plan = make_plan(read_values(args.recipe, flags=given(args)), folder=args.folder)
    torch.set_num_threads(plan.settings.threads)
    trainer, batches = set_up(plan)
    print(json.dumps(measure(trainer, batches, ahead=2 * plan.settings.processes)))


def set_up(plan: Plan) -> tuple[Trainer, Iterator[Batch]]:
    """A trainer and as many batches as are needed, as `mirex train` has them."""
    recipe, device = plan.recipe, resolve_device(plan.settings.device)
    processes, size = plan.settings.processes, recipe.network.embedding_size
    make = partial(make_batches, prepare(plan.corpus), recipe=recipe)
    trainer = Trainer(make().works, settings=recipe.loop, embedding_size=size, device=device)
    wanted = range(STEPS + REPEATS * (2 * processes + 2 * STEPS))
    batches = stream(make, wanted=wanted, processes=processes, pinned=device == "cuda")
    return trainer, batches


def measure(trainer: Trainer, batches: Iterator[Batch], *, ahead: int) -> dict[str, float]:
    """Samples a second of making batches, of the network, and of both. ahead: batches made in advance."""
    rates: dict[str, list[float]] = {"batches": [], "both": [], "network": []}
    _repeat(trainer.train_step, batches)
    for _ in range(REPEATS):
        for _ in itertools.islice(batches, ahead):
            pass  # what was made while the network was measured
        found, rate = _repeat(lambda batch: None, batches)
        rates["batches"].append(rate)
        rates["both"].append(_repeat(trainer.train_step, batches)[1])
        rates["network"].append(_repeat(trainer.train_step, iter(found))[1])
    medians = {name: median(values) for name, values in rates.items()}
    return medians | {"busy": medians["both"] / medians["network"]}


def _repeat(step: Callable[[Batch], object], batches: Iterator[Batch]) -> tuple[list[Batch], float]:
    """Some batches, and samples a second of a step on each."""
    began = time.perf_counter()
    found = []
    for batch in itertools.islice(batches, STEPS):
        step(batch)
        found.append(batch)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return found, sum(len(batch.labels) for batch in found) / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
