"""Columns and embeddings for use in one's own programs, identical to those of extraction.

Weights are given by file name, the shipped ones by default, and loaded once.
"""

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mirex._typing import Array, Columns, Samples
from mirex.settings import FrontEndSettings

if TYPE_CHECKING:
    from mirex.model.weights import Sealed


def columns(samples: Samples, *, settings: FrontEndSettings | None = None) -> Columns:
    """Compute the CQT columns of a recording, without its long silences.

    Parameters
    ----------
    samples : float32 [samples]
        Mono, at 22,050 Hz, finite, as `mirex.decode` gives them.
    settings : FrontEndSettings, optional
        Of the transform; those of the shipped weights by default.

    Returns
    -------
    float32 [84, columns]
        Magnitudes, 0.464 s per column, at least one.

    Examples
    --------
    >>> import mirex
    >>> import numpy as np
    >>> tone = np.sin(2 * np.pi * 440 * np.arange(22050) / 22050).astype(np.float32)
    >>> mirex.columns(np.concatenate([np.zeros(220500, np.float32), tone])).shape
    (84, 2)
    """
    from mirex.features import cqt
    from mirex.features.trimming import trimmed

    settings = settings or FrontEndSettings()
    return cqt.columns(trimmed(samples, settings=settings), settings=settings)


def embed(
    columns: Sequence[Columns],
    *,
    weights: "str | os.PathLike[str] | Sealed | None" = None,
    device: str = "cpu",
) -> Array:
    """Embed recordings, for comparison with `mirex.distance_matrix`.

    Parameters
    ----------
    columns : sequence of float32 [84, columns]
        One array per recording, from `mirex.columns`, 0.464 s per column; at least 20 s of music.
    weights : path-like or Sealed, optional
        A sealed file, or the result of `mirex.model.weights.load`; the shipped weights by default. A file is
        loaded again only if it has changed.
    device : str
        Torch device for the network of a file.

    Returns
    -------
    float32 [recordings, 2048]
        Rows of unit length. Each row depends on its own recording alone.

    Raises
    ------
    AudioError
        For columns of another shape, or with values that are not finite.
    WeightsError, SettingsMismatch
        If the weights cannot be used.

    Examples
    --------
    >>> import mirex
    >>> import numpy as np
    >>> time = np.arange(22050 * 25) / 22050
    >>> scale = 261.63 * 2 ** (np.floor(time % 8) / 12)  # eight semitones up from C, and again
    >>> samples = np.sin(2 * np.pi * np.cumsum(scale) / 22050).astype(np.float32)
    >>> loud, quiet = mirex.columns(samples), mirex.columns(samples / 4)
    >>> embeddings = mirex.embed([loud, quiet])
    >>> embeddings.shape
    (2, 2048)
    >>> mirex.distance_matrix(embeddings[:1], embeddings).round(2).tolist()
    [[0.0, 0.0]]
    """
    from mirex.model import embedding
    from mirex.model.weights import Sealed, default_path

    if isinstance(weights, Sealed):
        return embedding.embed(columns, sealed=weights)
    path = Path(weights) if weights else default_path()
    return embedding.embed(columns, sealed=_loaded(path, _state(path), device))


def _state(path: Path) -> tuple[int, int]:
    """What changes when a file does; constant if there is no file, which `load` will report."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


@functools.lru_cache(maxsize=1)
def _loaded(path: Path, state: tuple[int, int], device: str) -> "Sealed":
    from mirex.model.weights import load

    return load(path, device=device)
