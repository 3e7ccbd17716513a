"""Spectrum stitching: segments of different versions of one song joined along time.

After CasperNet (Du, Yu, Zhu, Chen: MIREX 2020, figure 2): the joined excerpt keeps the song's label, so
that the network cannot recognise songs by features of a single recording. The paper does not say how many
segments there are, how short they are, whether levels are matched and whether the parts share a key: see
StitchSettings.
"""

from collections.abc import Sequence

import numpy as np

from mirex._typing import Array
from mirex.training.settings import StitchSettings


def draw_lengths(total: int, *, settings: StitchSettings, generator: np.random.Generator) -> list[int]:
    """Draw the lengths of the parts of a stitched excerpt.

    Parameters
    ----------
    total : int
        Steps of the excerpt.
    settings : StitchSettings
        `segments` is the maximum number of parts, `shortest` the minimum length of a part, in steps.
    generator : numpy.random.Generator
        Draws how many parts there are, and where they meet.

    Returns
    -------
    list of int
        Steps of each part; their sum is `total`. At least two parts, each of `settings.shortest` or more, if
        `total` and `settings.segments` allow it; otherwise one part of `total` steps.
    """
    most = min(settings.segments, total // settings.shortest)
    if most < 2:
        return [total]
    count = int(generator.integers(2, most + 1))
    spare = total - count * settings.shortest
    cuts = np.sort(generator.integers(0, spare + 1, count - 1))
    extra = np.diff(np.concatenate([[0], cuts, [spare]]))
    return [settings.shortest + int(e) for e in extra]


def stitch(parts: Sequence[Array], *, match_level: bool) -> Array:
    """Join magnitudes along time.

    Parameters
    ----------
    parts : sequence of float32 [bins, columns of the part]
        Magnitudes, in the order in which they are joined.
    match_level : bool
        Bring every part to the geometric mean of the parts' levels (root mean square). Silent parts stay
        silent.

    Returns
    -------
    float32 [bins, all columns]
        Magnitudes.

    Raises
    ------
    ValueError
        If there are no parts.
    """
    if not parts:
        raise ValueError("stitch: no parts; give at least one")
    if not match_level or len(parts) == 1:
        return np.concatenate(parts, axis=1)
    levels = np.array([np.sqrt(np.mean(part.astype(np.float64) ** 2)) for part in parts])
    sounding = levels > 0
    if not sounding.any():
        return np.concatenate(parts, axis=1)
    target = np.exp(np.log(levels[sounding]).mean())
    factors = np.where(sounding, target / np.where(sounding, levels, 1.0), 1.0).astype(np.float32)
    return np.concatenate([part * factor for part, factor in zip(parts, factors, strict=True)], axis=1)
