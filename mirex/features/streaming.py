"""CQT columns of a recording of any length, in bounded memory: decoded and transformed piece by piece.

A column depends on the samples under its kernels alone, so pieces that overlap by enough columns give the
columns of the whole signal, up to what float32 rounds.
"""

import os
from collections.abc import Callable, Iterable
from typing import BinaryIO

import numpy as np

from mirex._typing import Columns, Samples
from mirex.errors import AudioError
from mirex.features import audio, cqt
from mirex.settings import FrontEndSettings

PIECE = 512  # columns at a time, 4 minutes
_BESIDE = 2  # columns on either side of a piece, more than half a kernel and its filters are long


def columns_of_file(
    path: str | os.PathLike[str],
    *,
    settings: FrontEndSettings,
    implementation: str = "multirate",
    progress: Callable[[int, int], None] | None = None,
) -> Columns:
    """CQT columns of an audio file; memory holds them (3 MB an hour) and a piece of the signal.

    Parameters
    ----------
    path : path-like
        Of the recording.
    settings : FrontEndSettings
        Of the transform.
    implementation : {"multirate", "essentia"}
        As for `mirex.features.cqt.columns`.
    progress : callable, optional
        Called with the file's bytes read so far, and all.

    Returns
    -------
    float32 [bins, columns]

    Raises
    ------
    AudioError
        As `mirex.features.audio.decode`, which also says what it warns of.
    """
    with audio.open_recording(path) as file:
        blocks = audio.blocks(file, sample_rate=settings.sample_rate)
        watched = _watched(blocks, file, progress) if progress else blocks
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
    blocks: Iterable[Samples], file: BinaryIO, progress: Callable[[int, int], None]
) -> Iterable[Samples]:
    size = os.fstat(file.fileno()).st_size
    progress(0, size)
    for block in blocks:
        progress(min(os.lseek(file.fileno(), 0, os.SEEK_CUR), size), size)
        yield block
    progress(size, size)
