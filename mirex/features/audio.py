"""Recordings to mono samples at 22,050 Hz.

Decode, mean of the channels, band-limited resampling (soxr, "HQ"), all by blocks, so that memory
holds one float32 copy of the result (318 MB an hour) and little else. libsndfile decodes; FFmpeg
(PyAV) is asked only for what libsndfile refuses to open. The format is recognised by content, never
by name. Nothing else is done to the signal: clipping and DC pass as they are.

What happens to odd recordings:

* not a regular file, no permission, no bytes, no format that either decoder knows, no audio stream,
  no samples, a sample rate outside 1 kHz to 1 MHz: `AudioError`;
* truncated or damaged: what decodes before the damage is used, with an `AudioWarning`; nothing
  before it: `AudioError`;
* samples that are NaN, infinite or beyond 1e6: taken as 0, with an `AudioWarning`; more than 1 %
  of them: `AudioError`;
* silence: zeros, with an `AudioWarning`.
"""

import os
import stat
import warnings
from collections.abc import Iterator
from io import BufferedReader
from typing import Any

import numpy as np

from mirex._typing import Samples
from mirex.errors import AudioError

SAMPLE_RATE = 22050
LOWEST_RATE, HIGHEST_RATE = 1_000, 1_000_000  # Hz; outside, a header is damaged rather than unusual
LARGEST_SAMPLE = 1e6  # full scale is 1.0; beyond this the bytes were no samples
TOLERATED_SHARE = 0.01  # of samples that are no numbers
_BLOCK_SAMPLES = 1 << 15  # decoded at a time, over all channels; so much is lost before a damage
_PROMISE_KEPT = 0.99  # of the header's length; lossy formats round theirs


class AudioWarning(UserWarning):
    """A recording was decoded, but not quite as its header promises."""


def decode(path: str | os.PathLike[str], *, sample_rate: int = SAMPLE_RATE) -> Samples:
    """Decode a recording to mono.

    sample_rate: of the result, in Hz. Returns float32 [samples], at least 1, full scale 1.0.
    Raises `AudioError` (the path is in its notes); warns with `AudioWarning`.
    """
    try:
        with open_recording(path) as file:
            samples = _decode(file, sample_rate)
    except AudioError as error:
        error.add_note(f"file: {os.fspath(path)}")
        raise
    if not samples.any():
        warnings.warn("holds only silence", AudioWarning, stacklevel=2)
    return samples


def open_recording(path: str | os.PathLike[str]) -> BufferedReader:
    """Open a regular file for reading; `AudioError` says in words why that cannot be."""
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise AudioError("is a folder, not a file")
        if not stat.S_ISREG(mode):
            raise AudioError("is not a regular file")
        return open(path, "rb")
    except FileNotFoundError:
        raise AudioError("no such file") from None
    except OSError as error:
        raise AudioError(f"cannot be read: {(error.strerror or 'unknown reason').lower()}") from None
    except ValueError as error:
        raise AudioError(f"cannot be a file's path: {error}") from None


def _decode(file: BufferedReader, sample_rate: int) -> Samples:
    samples = _collect(blocks(file, sample_rate=sample_rate))
    if not len(samples):
        raise AudioError("holds no audio samples")
    return samples


def blocks(file: BufferedReader, *, sample_rate: int = SAMPLE_RATE) -> Iterator[Samples]:
    """What `decode` would give of an opened recording, block by block.

    Parameters
    ----------
    file : BufferedReader
        As `open_recording` gives it.
    sample_rate : int
        Of the result, in Hz.

    Yields
    ------
    float32 [samples]

    Raises
    ------
    AudioError
        As `decode`, but a recording without samples is no error here.
    """
    if not os.fstat(file.fileno()).st_size:
        raise AudioError("is empty (0 bytes)")
    rate, decoded = _open_decoder(file)
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise AudioError(f"has a sample rate of {rate} Hz; {LOWEST_RATE} to {HIGHEST_RATE} can be used")
    yield from _resample(_mono(_clean(decoded)), rate, sample_rate)


def _open_decoder(file: BufferedReader) -> tuple[int, Iterator[Samples]]:
    """The first decoder that opens the file: (sample rate, blocks of float32 [frames, channels])."""
    opened = _open_libsndfile(file)
    if opened is None:
        file.seek(0)
        opened = _open_ffmpeg(file)
    if opened is None:
        raise AudioError("is not audio in any format that libsndfile or FFmpeg reads")
    return opened


def _open_libsndfile(file: BufferedReader) -> tuple[int, Iterator[Samples]] | None:
    import soundfile

    class ForwardFile(soundfile.SoundFile):
        """Reads strictly forwards: SoundFile seeks after every block, and in MP3 lands elsewhere."""

        def seekable(self) -> bool:
            return False

    try:
        # A descriptor of its own, because libsndfile closes it, also when it refuses the file.
        opened = ForwardFile(os.dup(file.fileno()), closefd=True)
    except soundfile.LibsndfileError:
        return None
    return opened.samplerate, _libsndfile_blocks(opened)


def _libsndfile_blocks(opened: Any) -> Iterator[Samples]:
    import soundfile

    frames, promised, done = max(1, _BLOCK_SAMPLES // opened.channels), opened.frames, 0
    with opened:
        try:
            while len(block := opened.read(frames, dtype="float32", always_2d=True)):
                done += len(block)
                yield block
        except soundfile.LibsndfileError:
            _report_damage(done / opened.samplerate)
            return
        # An unknown length is given as the largest number.
        if done < _PROMISE_KEPT * promised < 1 << 50:
            seconds, expected = done / opened.samplerate, promised / opened.samplerate
            warnings.warn(f"ends after {seconds:.1f} of {expected:.1f} seconds", AudioWarning, stacklevel=2)


def _open_ffmpeg(file: BufferedReader) -> tuple[int, Iterator[Samples]] | None:
    import av

    try:
        # Only these bytes: a playlist must not make FFmpeg open other files or addresses.
        container = av.open(file, options={"protocol_whitelist": "pipe"})
    except (av.FFmpegError, OSError, ValueError):
        return None
    if not container.streams.audio:
        container.close()
        raise AudioError("holds no audio stream")
    return container.streams.audio[0].codec_context.sample_rate, _ffmpeg_blocks(container)


def _ffmpeg_blocks(container: Any) -> Iterator[Samples]:
    import av

    rate, seconds = container.streams.audio[0].codec_context.sample_rate, 0.0
    to_float = av.AudioResampler(format="fltp", rate=rate)
    with container:
        try:
            for frame in container.decode(audio=0):
                seconds += frame.samples / frame.sample_rate
                for converted in to_float.resample(frame):
                    yield np.asarray(converted.to_ndarray().T, np.float32)
        except (av.FFmpegError, OSError, ValueError):
            _report_damage(seconds)


def _report_damage(seconds: float) -> None:
    if not seconds:
        raise AudioError("is damaged: nothing of it can be decoded")
    warnings.warn(f"is damaged after {seconds:.1f} seconds; used up to there", AudioWarning, stacklevel=3)


def _clean(blocks: Iterator[Samples]) -> Iterator[Samples]:
    """Blocks with samples that are no numbers set to 0; too many of them are an error."""
    bad = total = 0
    for block in blocks:
        total += block.size
        good = np.abs(block) <= LARGEST_SAMPLE  # false for NaN too
        if not good.all():
            bad += block.size - int(np.count_nonzero(good))
            block = np.where(good, block, np.float32(0))
        yield block
    if bad > TOLERATED_SHARE * total:
        raise AudioError(f"holds {bad} of {total} samples that are no numbers in any audio range")
    if bad:
        warnings.warn(f"{bad} samples that are no numbers were taken as 0", AudioWarning, stacklevel=2)


def _mono(blocks: Iterator[Samples]) -> Iterator[Samples]:
    for block in blocks:
        yield block[:, 0] if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32)


def _resample(blocks: Iterator[Samples], rate: int, target: int) -> Iterator[Samples]:
    if rate == target:
        yield from blocks
        return
    import soxr

    stream = soxr.ResampleStream(rate, target, 1, dtype="float32", quality="HQ")
    for block in blocks:
        yield stream.resample_chunk(np.ascontiguousarray(block))
    yield stream.resample_chunk(np.empty(0, np.float32), last=True)


def _collect(blocks: Iterator[Samples]) -> Samples:
    """Join blocks in one buffer that grows in place: concatenating would hold everything twice."""
    samples, end = np.empty(1 << 20, np.float32), 0
    for block in blocks:
        needed = end + len(block)
        if needed > len(samples):
            samples.resize(max(needed, len(samples) * 5 // 4), refcheck=False)
        samples[end:needed] = block
        end = needed
    samples.resize(end, refcheck=False)
    return samples
