"""Echoes: learning from every batch more than once, for when making batches takes longer than learning.

After data echoing (Choi et al., "Faster neural network training with data echoing", 2019). An echo comes
DELAY batches after the batch itself, with each of its crops in another key. Which batch a step learns from,
and in which keys, depends on seed and step alone, so a resumed run continues as the uninterrupted one.
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
    """What one training step learns from.

    Attributes
    ----------
    batch : int
        Its number.
    echo : int
        0 for the first time.
    """

    batch: int
    echo: int


def uses(steps: int, *, echoes: int, delay: int = DELAY) -> list[Use]:
    """Plan what each step learns from.

    Each round has a new batch, followed by echoes of the batches `delay`, twice `delay` ... rounds before, as
    far as they exist.

    Parameters
    ----------
    steps : int
        How many training steps to plan.
    echoes : int
        How often each batch is repeated.
    delay : int
        Rounds from a batch to its first echo.

    Returns
    -------
    list of Use
        One per step.
    """
    found: list[Use] = []
    newest = 0
    while len(found) < steps:
        heard = [Use(newest - echo * delay, echo) for echo in range(echoes + 1)]
        found += [use for use in heard if use.batch >= 0]
        newest += 1
    return found[:steps]


def needed(steps: Sequence[tuple[int, Use]]) -> range:
    """Find the batches that some consecutive steps need.

    Parameters
    ----------
    steps : sequence of (int, Use)
        Number and use of each step.

    Returns
    -------
    range
        Numbers of batches.
    """
    numbers = [use.batch for _, use in steps]
    return range(min(numbers), max(numbers) + 1) if numbers else range(0)


def echoed(batches: Iterator[Batch], *, steps: Sequence[tuple[int, Use]], seed: int) -> Iterator[Batch]:
    """Turn batches into the batch of each step.

    Parameters
    ----------
    batches : iterator of Batch
        Those that are `needed`, in order.
    steps : sequence of (int, Use)
        Number and use of each step.
    seed : int
        Of the keys.

    Yields
    ------
    Batch
    """
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
    """Move crops along the bins.

    Parameters
    ----------
    views : float [crops, 1, bins, steps]
        Crops of one view.
    semitones : int64 [crops]
        How far to move each one up.
    folded : bool
        Whether bins wrap around, as in the folded view; otherwise silence is moved in.

    Returns
    -------
    float [crops, 1, bins, steps]
    """
    bins = views.shape[2]
    source = torch.arange(bins, device=views.device) - semitones[:, None]
    index = source.remainder(bins)[:, None, :, None].expand(views.shape)
    moved = views.gather(2, index)
    return moved if folded else moved.masked_fill(((source < 0) | (source >= bins))[:, None, :, None], 0.0)
