"""CQT columns of a recording of any length: transformed piece by piece, so that memory stays small.

A column depends only on the samples under its kernels, so pieces that overlap by enough columns give the
columns of the whole signal, byte for byte. Silence is removed as `mirex.features.trimming` does for a signal
in memory; what counts as silent depends on the loudest part, so the signal is gone through twice. Files that
libsndfile can read completely (WAV, FLAC, MP3, Ogg and more) are decoded twice; others, and damaged ones,
once, into a temporary file (`mirex.features.spool`, 318 MB per hour).
"""

import os
from collections.abc import Callable, Iterable, Iterator
from io import BufferedReader
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mirex._typing import Columns, Samples
from mirex.errors import AudioError
from mirex.features import audio, containers, cqt, sndfile
from mirex.features.containers import Window
from mirex.features.spool import Spool
from mirex.features.track import WILD_SAMPLE, Powers, mean_of_channels
from mirex.features.trimming import BlockTrimmer, loudness_limit
from mirex.settings import FrontEndSettings

LONG = 1200.0  # seconds; a signal of this length takes 106 MB
PIECE = 512  # columns at a time, 4 minutes
_BEFORE = cqt.CHUNK_COLUMNS  # columns before a piece, so that it is computed in the same chunks as the whole
_BEHIND = 2  # columns behind a piece, more than its last chunk looks at


class Heard(NamedTuple):
    """A file without its long silences.

    Attributes
    ----------
    columns : float32 [bins, columns]
        Of the signal without its long silences.
    silences : float64 [silences, 2]
        Start and end of each removed silence, in seconds of the file.
    """

    columns: Columns
    silences: NDArray[np.float64]


def is_long(path: str | os.PathLike[str]) -> bool:
    """Whether a recording is so long that it should not be decoded in one piece.

    Parameters
    ----------
    path : path-like
        Of the recording.

    Returns
    -------
    bool
        By the length that its header states; False for formats that only FFmpeg reads, since
        `columns_of_file` decodes these once anyway.

    Raises
    ------
    AudioError
        If it cannot be opened.
    """
    with audio.open_recording(path) as file:
        source = Window(file)
        return bool(source.size) and sndfile.stated_seconds(source) > LONG


def columns_of_file(
    path: str | os.PathLike[str],
    *,
    settings: FrontEndSettings,
    implementation: str = "multirate",
    folder: str | os.PathLike[str] | None = None,
    decoded: Callable[[float], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Heard:
    """Compute the CQT columns of an audio file.

    Memory holds the columns, 3 MB per hour, and pieces of the signal.

    Parameters
    ----------
    path : path-like
        Of the recording.
    settings : FrontEndSettings
        Of the transform.
    implementation : {"multirate", "essentia"}
        As for `mirex.features.cqt.columns`.
    folder : path-like, optional
        Of a temporary file, should one be needed; by default the system's folder for such files.
    decoded : callable, optional
        Called with the length in seconds as soon as it is known.
    progress : callable, optional
        Called with (done, total), from 0; in two rounds, since the signal is gone through twice.

    Returns
    -------
    Heard
        Its columns are those of `mirex.columns`, byte for byte.

    Raises
    ------
    AudioError
        As `mirex.features.audio.decode`, which also documents the warnings.
    """

    def of(blocks: Callable[[], Iterable[Samples]]) -> Heard:
        return columns_of_signal(blocks, settings=settings, implementation=implementation, decoded=decoded)

    try:
        with audio.open_recording(path) as file:
            return of(lambda: _sound_blocks(file, settings.sample_rate, progress))
    except _Unsound:
        samples = decode_long(path, settings=settings, folder=folder)
    return of(lambda: _watched(samples, os.path.getsize(path), progress))


def decode_long(
    path: str | os.PathLike[str],
    *,
    settings: FrontEndSettings,
    folder: str | os.PathLike[str] | None = None,
) -> Spool:
    """Decode a recording; if it turns out to be long, its samples go into a temporary file.

    Parameters
    ----------
    path : path-like
        Of the recording.
    settings : FrontEndSettings
        Its sample rate.
    folder : path-like, optional
        Of the file; by default the system's folder for such files.

    Returns
    -------
    Spool
        The samples.

    Raises
    ------
    AudioError
        As `mirex.features.audio.decode_long`, which also documents the warnings.
    """
    most = round(LONG * settings.sample_rate)
    return audio.decode_long(path, sample_rate=settings.sample_rate, in_memory=most, folder=folder)


def columns_of_signal(
    blocks: Callable[[], Iterable[Samples]],
    *,
    settings: FrontEndSettings,
    implementation: str = "multirate",
    decoded: Callable[[float], None] | None = None,
) -> Heard:
    """Compute the CQT columns of a signal without its long silences.

    Parameters
    ----------
    blocks : callable
        Each call gives the signal from its start, in blocks of float32 [samples].
    settings, implementation, decoded
        As for `columns_of_file`.

    Returns
    -------
    Heard

    Raises
    ------
    AudioError
        If there is no sample at all.
    """
    lengths: list[int] = []

    def counted() -> Iterator[Samples]:
        for block in blocks():
            lengths.append(len(block))
            yield block

    limit = loudness_limit(counted(), settings=settings)
    if decoded:
        decoded(sum(lengths) / settings.sample_rate)
    trimmer = BlockTrimmer(limit=limit, settings=settings)
    sound = trimmer.trimmed(blocks())
    columns = columns_of_blocks(sound, settings=settings, implementation=implementation)
    return Heard(columns, np.array(trimmer.silences, float).reshape(-1, 2) / settings.sample_rate)


class _Unsound(Exception):
    """Only `mirex.features.audio.decode` can handle this file."""


def _sound_blocks(
    file: BufferedReader, sample_rate: int, progress: Callable[[int, int], None] | None
) -> Iterator[Samples]:
    """Mono blocks of an intact file of one link and rate, without invalid values or cancelling channels."""
    import soxr

    file.seek(0)
    source = Window(file)
    if not source.size or len(containers.links(source)) != 1 or not sndfile.opens(source):
        raise _Unsound
    steps = sndfile.steps_of(source)
    if steps is not None and steps.out_of_step():
        raise _Unsound
    outcome, powers, rate, resampler = sndfile.Outcome(), Powers(), 0, None
    if progress:
        progress(0, source.size)
    for found, block in sndfile.blocks(source, outcome):
        if rate not in (0, found) or not np.abs(block).max(initial=0) <= WILD_SAMPLE:
            raise _Unsound
        if resampler is None and found != sample_rate:
            resampler = soxr.ResampleStream(found, sample_rate, 1, dtype="float32", quality="HQ")
        rate, mono = found, np.array(mean_of_channels(block))
        powers.add(block, mono)
        if progress:
            progress(min(os.lseek(file.fileno(), 0, os.SEEK_CUR), source.size - 1), source.size)
        yield mono if resampler is None else resampler.resample_chunk(mono)
    if not outcome.whole or powers.silent or powers.cancel:
        raise _Unsound
    if resampler is not None:
        yield resampler.resample_chunk(np.empty(0, np.float32), last=True)
    if progress:
        progress(source.size, source.size)


def columns_of_blocks(
    blocks: Iterable[Samples],
    *,
    settings: FrontEndSettings,
    implementation: str = "multirate",
    piece: int = PIECE,
) -> Columns:
    """Compute the CQT columns of a signal that comes in blocks.

    Parameters
    ----------
    blocks : iterable of float32 [samples]
        At `settings.sample_rate`.
    settings, implementation
        As in `columns_of_file`.
    piece : int
        Columns transformed at a time; a multiple of `mirex.features.cqt.CHUNK_COLUMNS`.

    Returns
    -------
    float32 [bins, columns]
        Those of the joined blocks, byte for byte.

    Raises
    ------
    AudioError
        If there is no sample at all.

    Examples
    --------
    >>> signal = np.sin(np.arange(1_500_000, dtype=np.float32))
    >>> found = columns_of_blocks([signal[:30_000], signal[30_000:]], settings=FrontEndSettings(), piece=64)
    >>> np.array_equal(found, cqt.columns(signal))
    True
    """
    samples_of_column = settings.hop * settings.frames_per_column
    kept, waiting, length, before = [], [], 0, 0
    for block in blocks:
        waiting.append(block)
        length += len(block)
        while length >= (needed := (before + piece + _BEHIND) * samples_of_column):
            signal = np.concatenate(waiting)
            found = cqt.columns(signal[:needed], settings=settings, implementation=implementation)
            kept.append(found[:, before : before + piece])
            rest = signal[(before + piece - _BEFORE) * samples_of_column :].copy()
            waiting, length, before = [rest], len(rest), _BEFORE
    if not length:
        raise AudioError("has no audio samples")
    last = cqt.columns(np.concatenate(waiting), settings=settings, implementation=implementation)
    return np.concatenate([*kept, last[:, before:]], axis=1)


def _watched(samples: Spool, size: int, progress: Callable[[int, int], None] | None) -> Iterator[Samples]:
    """Pass on the blocks of a whole file and report progress in bytes."""
    if progress:
        progress(0, size)
    done = 0
    for block in samples.blocks():
        yield block
        done += len(block)
        if progress:
            progress(size * done // len(samples), size)
