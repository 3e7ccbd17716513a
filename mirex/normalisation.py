"""Normalisation: CQT columns to network input, part of the sealed network settings.

1. Columns are averaged into network steps.
2. CQT view: levels are compressed to log(1 + g m / r) / log(1 + g), where r, the clip's reference
   level, is the root mean square of the columns' loudest bins. So a clip's gain does not matter, and
   what lies 40 dB below the reference (at g = 100) fades out smoothly.
3. Chroma view: power is folded into 12 pitch classes, each column divided by its loudest class, and
   the result laid again over all octaves. It says which notes sound, but not where.
"""

import numpy as np
from numpy.typing import NDArray

from mirex.settings import NetworkSettings

BINS = 84
BINS_PER_OCTAVE = 12
OCTAVES = BINS // BINS_PER_OCTAVE
SILENCE = 1e-5  # reference level under which a clip counts as silent: -100 dB

Array = NDArray[np.float32]


def to_steps(columns: Array, *, settings: NetworkSettings) -> Array:
    """Average columns into network steps.

    columns: float32 [84, columns], at least one. Returns float32 [84, steps]; a rest of fewer columns than
    a step is dropped, unless it is all there is. A clip shorter than min_steps is repeated to that length.
    """
    per_step = settings.columns_per_step
    steps = max(columns.shape[1] // per_step, 1)
    used = columns[:, : steps * per_step]
    averaged = used.reshape(BINS, steps, -1).mean(axis=2)
    repeats = -(-settings.min_steps // steps)
    if repeats > 1:
        averaged = np.tile(averaged, repeats)[:, : max(settings.min_steps, steps)]
    return averaged.astype(np.float32)


def cqt_view(steps: Array, *, settings: NetworkSettings) -> Array:
    """Compress levels: float32 [84, steps] magnitudes to float32 [84, steps] of about 0..1."""
    loudest = steps.max(axis=0).astype(np.float64)
    reference = max(float(np.sqrt(np.mean(loudest**2))), SILENCE)
    gain = settings.level_gain
    return (np.log1p(steps * np.float32(gain / reference)) / np.float32(np.log1p(gain))).astype(np.float32)


def chroma_view(steps: Array) -> Array:
    """Fold and tile: float32 [84, steps] magnitudes to float32 [84, steps] in 0..1."""
    return tile(fold(steps))


def fold(steps: Array) -> Array:
    """Pitch-class profile: float32 [12, steps] in 0..1, row 0 is C, each column's loudest class 1.

    A column below SILENCE is all zeros.
    """
    power = (steps.astype(np.float64) ** 2).reshape(OCTAVES, BINS_PER_OCTAVE, -1).sum(axis=0)
    loudest = power.max(axis=0)
    silent = loudest < SILENCE**2
    return np.where(silent, 0.0, power / np.where(silent, 1.0, loudest)).astype(np.float32)


def tile(chroma: Array) -> Array:
    """Lay a profile over all octaves: [12, steps] to [84, steps]."""
    return np.tile(chroma, (OCTAVES, 1))
