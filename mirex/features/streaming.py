"""CQT columns of a recording of any length: transformed piece by piece, so that memory stays small.

A column depends on the samples under its kernels alone, so pieces that overlap by enough columns give the
columns of the whole signal, up to what float32 rounds.
"""

import os
from collections.abc import Callable, Iterable

import numpy as np

from mirex._typing import Columns, Samples
from mirex.errors import AudioError
from mirex.features import audio, cqt
from mirex.settings import FrontEndSettings

BLOCK = 1 << 20  # samples at a time
PIECE = 512  # columns at a time, 4 minutes
_BESIDE = 2  # columns on either side of a piece, more than half a kernel and its filters are long


def columns_of_file(
    path: str | os.PathLike[str],
    *,
    settings: FrontEndSettings,
    implementation: str = "multirate",
    progress: Callable[[int, int], None] | None = None,
) -> Columns:
    """CQT columns of an audio file; memory holds the signal (318 MB an hour) and a piece of its transform.

    Parameters
    ----------
    path : path-like
        Of the recording.
    settings : FrontEndSettings
        Of the transform.
    implementation : {"multirate", "essentia"}
        As for `mirex.features.cqt.columns`.
    progress : callable, optional
        Called with the samples transformed so far, and all.

    Returns
    -------
    float32 [bins, columns]

    Raises
    ------
    AudioError
        As `mirex.features.audio.decode`, which also says what it warns of.
    """
    samples = audio.decode(path, sample_rate=settings.sample_rate)
    blocks = (samples[start : start + BLOCK] for start in range(0, len(samples), BLOCK))
    watched = _watched(blocks, len(samples), progress) if progress else blocks
    return columns_of_blocks(watched, settings=settings, implementation=implementation)


def columns_of_blocks(
    blocks: Iterable[Samples],
    *,
    settings: FrontEndSettings,
    implementation: str = "multirate",
    piece: int = PIECE,
) -> Columns:
    """CQT columns of a signal that comes in blocks.

    Parameters
    ----------
    blocks : iterable of float32 [samples]
        At `settings.sample_rate`.
    settings, implementation
        As in `columns_of_file`.
    piece : int
        Columns transformed at a time.

    Returns
    -------
    float32 [bins, columns]
        Those of the joined blocks, within 1e-5 of the peak.

    Raises
    ------
    AudioError
        If there is no sample at all.

    Examples
    --------
    >>> signal = np.sin(np.arange(100_000, dtype=np.float32))
    >>> found = columns_of_blocks([signal[:30_000], signal[30_000:]], settings=FrontEndSettings(), piece=3)
    >>> whole = cqt.columns(signal)
    >>> found.shape == whole.shape, bool(abs(found - whole).max() < 1e-5)
    (True, True)
    """
    samples_of_column = settings.hop * settings.frames_per_column
    kept, waiting, length, before = [], [], 0, 0
    for block in blocks:
        waiting.append(block)
        length += len(block)
        while length >= (before + piece + _BESIDE) * samples_of_column:
            signal = np.concatenate(waiting)
            part = signal[: (before + piece + _BESIDE) * samples_of_column]
            found = cqt.columns(part, settings=settings, implementation=implementation)
            kept.append(found[:, before : before + piece])
            rest = signal[(before + piece - _BESIDE) * samples_of_column :].copy()
            waiting, length, before = [rest], len(rest), _BESIDE
    if not length:
        raise AudioError("holds no audio samples")
    last = cqt.columns(np.concatenate(waiting), settings=settings, implementation=implementation)
    return np.concatenate([*kept, last[:, before:]], axis=1)


def _watched(
    blocks: Iterable[Samples], size: int, progress: Callable[[int, int], None]
) -> Iterable[Samples]:
    done = 0
    progress(done, size)
    for block in blocks:
        yield block
        done += len(block)
        progress(done, size)
