"""Echoes: every batch learned from more than once, where making batches is slower than learning from them.

After data echoing (Choi et al., "Faster neural network training with data echoing", 2019). An echo comes
DELAY batches later than the batch did, and each of its crops in another key. Which batch a step learns from,
and in which keys, is a function of seed and step, so that a resumed run goes on as the uninterrupted one.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mirex.training.batches import Batch

DELAY = 50
MOST_SEMITONES = 2  # of the CQT view, in which the lowest or highest are lost


class Use(NamedTuple):
    """What one training step learns from. batch: its number. echo: 0 for the first time."""

    batch: int
    echo: int


def uses(steps: int, *, echoes: int, delay: int = DELAY) -> list[Use]:
    """What each of so many steps learns from; echoes: how often a batch is heard again.

    A batch is new in each round; the echoes are of those `delay`, twice `delay` ... rounds before, as far as
    there are any.
    """
    found: list[Use] = []
    newest = 0
    while len(found) < steps:
        heard = [Use(newest - echo * delay, echo) for echo in range(echoes + 1)]
        found += [use for use in heard if use.batch >= 0]
        newest += 1
    return found[:steps]


def needed(steps: Sequence[tuple[int, Use]]) -> range:
    """Numbers of the batches to make for consecutive steps. steps: number and use of each."""
    numbers = [use.batch for _, use in steps]
    return range(min(numbers), max(numbers) + 1) if numbers else range(0)


def echoed(batches: Iterator[Batch], *, steps: Sequence[tuple[int, Use]], seed: int) -> Iterator[Batch]:
    """The batch of each step. batches: those `needed`, in order. steps: number and use of each."""
    last = {use.batch: step for step, use in steps}
    held: dict[int, Batch] = {}
    coming = iter(needed(steps))
    for step, use in steps:
        while use.batch not in held:
            number = next(coming)
            held[number] = next(batches)
        batch = held.pop(use.batch) if last[use.batch] == step else held[use.batch]
        yield _in_other_keys(batch, np.random.default_rng([seed, step, use.echo])) if use.echo else batch


def _in_other_keys(batch: Batch, generator: np.random.Generator) -> Batch:
    count, folded = len(batch.cqt), len(batch.chroma)
    shifts = np.concatenate(
        [
            generator.integers(-MOST_SEMITONES, MOST_SEMITONES + 1, count),
            generator.integers(0, 12, folded),
        ]
    )
    return batch._replace(semitones=torch.from_numpy(shifts))


def shifted(views: Tensor, semitones: Tensor, *, folded: bool) -> Tensor:
    """Crops moved along the bins, each by so many: float [crops, 1, bins, steps] to the same.

    The folded view goes round; in the CQT view what is moved in is silence.
    """
    bins = views.shape[2]
    source = torch.arange(bins, device=views.device) - semitones[:, None]
    index = source.remainder(bins)[:, None, :, None].expand(views.shape)
    moved = views.gather(2, index)
    return moved if folded else moved.masked_fill(((source < 0) | (source >= bins))[:, None, :, None], 0.0)
