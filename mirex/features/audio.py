"""Recordings to mono samples at 22,050 Hz.

Decode, average the channels, resample band-limited (soxr, "HQ"), all block by block. All audio in a file
is decoded, whatever length its header gives: libsndfile decodes, and if it stops early, finds damage or
does not know the format, FFmpeg (PyAV) tries too; the longer result is kept. The format is recognised by
content, never by name. Nothing else is done to the signal: clipping and DC are left as they are.

Unusual recordings:

* not a regular file, no permission, no bytes, no format that either decoder knows, no audio stream,
  no codec, no samples, a sample rate outside 1 kHz to 1 MHz, only silence: `AudioError`;
* truncated or damaged: everything that can be decoded, even after the damage, is used, with an
  `AudioWarning`; if nothing can be decoded: `AudioError`;
* uncompressed, with bytes lost or inserted: decoding finds its step again after that place, with an
  `AudioWarning`;
* several recordings joined in one file (chained Ogg and the like): all of them, one after the other;
* several audio streams: the one flagged as default; if it is silent or cannot be decoded, the next,
  with an `AudioWarning`;
* samples that are NaN, infinite or beyond 1e6, and a few beyond 16 x full scale: taken as 0, with
  an `AudioWarning`; if more than 1 % are not numbers: `AudioError`;
* channels that cancel each other out: the louder one, with an `AudioWarning`.
"""

import contextlib
import logging
import os
import stat
import warnings
from collections.abc import Iterator
from io import BufferedReader

from mirex._typing import Samples
from mirex.errors import AudioError
from mirex.features import containers, ffmpeg, sndfile
from mirex.features.containers import Window
from mirex.features.spool import NoRoom, Spool
from mirex.features.steps import Reader
from mirex.features.track import Recording, Target, record
from mirex.logs import printable
from mirex.settings import SAMPLE_RATE

_LITTLE = 0.1  # seconds; decoders differ by this much in what they cut off at the ends
# Raised whenever any file decodes to other samples, so that results of the old ones are not reused.
DECODER_REVISION = 4

log = logging.getLogger(__name__)


class AudioWarning(UserWarning):
    """A recording was decoded, but not exactly as its header says."""


def decode(path: str | os.PathLike[str], *, sample_rate: int = SAMPLE_RATE) -> Samples:
    """Decode a recording to mono.

    Parameters
    ----------
    path : str or path
        An audio file.
    sample_rate : int
        Of the result, in Hz.

    Returns
    -------
    float32 [samples]
        At least 1; full scale 1.0.

    Raises
    ------
    AudioError
        If the file has nothing to analyse; the path is in the error's notes.

    Warns
    -----
    AudioWarning
        If part of the file is not used, or is changed.

    Examples
    --------
    >>> from mirex.features.audio import decode
    >>> len(decode("tests/demo/egypt.ogg")) / 22050
    75.0
    """
    return _warned(path, Target(sample_rate)).array()


def decode_long(
    path: str | os.PathLike[str],
    *,
    sample_rate: int = SAMPLE_RATE,
    in_memory: int | None = None,
    folder: str | os.PathLike[str] | None = None,
) -> Spool:
    """Decode a recording that may be too long for memory: `decode` into a `Spool`.

    Parameters
    ----------
    path : str or path
        An audio file.
    sample_rate : int
        Of the result, in Hz.
    in_memory, folder
        As for `Spool`.

    Returns
    -------
    Spool
        The samples that `decode` returns.

    Raises
    ------
    AudioError
        As `decode`, and if the samples do not fit on the disk.

    Warns
    -----
    AudioWarning
        As `decode`.
    """
    return _warned(path, Target(sample_rate, in_memory, folder))


@contextlib.contextmanager
def named(path: str | os.PathLike[str], *, logged: bool = True) -> Iterator[None]:
    """Name the recording in the errors and warnings about it.

    Parameters
    ----------
    path : str or path
        The recording that the block reads.
    logged : bool
        Log each `AudioWarning`; otherwise drop it, for a recording whose warnings have been logged before.

    Yields
    ------
    None

    Raises
    ------
    AudioError
        Of the block, with the path in its message.
    """
    name = os.fspath(path)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", AudioWarning)
            yield
    except AudioError as error:
        raise AudioError(f"{name!r} cannot be analysed: {error}") from error
    finally:
        for each in caught:
            if not issubclass(each.category, AudioWarning):
                warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
            elif logged:
                log.warning("%s: %s", printable(name), each.message)


def open_recording(path: str | os.PathLike[str]) -> BufferedReader:
    """Open a regular file for reading.

    Parameters
    ----------
    path : str or path
        An audio file.

    Returns
    -------
    BufferedReader
        The file, open for reading bytes.

    Raises
    ------
    AudioError
        If it cannot be opened; the message says why.
    """
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
        raise AudioError(f"is not a valid path: {error}") from None


def _warned(path: str | os.PathLike[str], target: Target) -> Spool:
    """Samples of a recording; what the user must know about it becomes warnings and notes."""
    try:
        with open_recording(path) as file:
            recording = _decode(file, target)
    except AudioError as error:
        error.add_note(f"file: {os.fspath(path)}")
        raise
    for note in recording.notes:
        warnings.warn(note, AudioWarning, stacklevel=3)
    return recording.samples


def _decode(file: BufferedReader, target: Target) -> Recording:
    source = Window(file)
    if not source.size:
        raise AudioError("is empty (0 bytes)")
    try:
        recording = _decode_links(containers.links(source), target)
    except NoRoom as error:  # not an AudioError, which would have the next decoder try
        raise AudioError(str(error)) from error
    if not len(recording.samples):
        raise AudioError("has no audio samples")
    if recording.silent:
        raise AudioError("is silent")
    return recording


def _decode_links(links: list[Window], target: Target) -> Recording:
    """All links of a chain as one recording, except those that cannot be decoded."""
    if len(links) == 1:
        return _decode_link(links[0], target)
    samples, seconds, silent, notes, errors = target.spool(), 0.0, True, [], []
    for number, link in enumerate(links, 1):
        try:
            recording = _decode_link(link, target)
        except AudioError as error:
            errors.append(error)
            notes.append(f"part {number} of {len(links)} was left out: it {error}")
            continue
        for block in recording.samples.blocks():
            samples.append(block)
        seconds, silent = seconds + recording.seconds, silent and recording.silent
        notes += [f"part {number} of {len(links)}: {note}" for note in recording.notes]
    if len(errors) == len(links):
        raise errors[0]
    return Recording(samples, seconds, silent, notes)


def _decode_link(source: Window, target: Target) -> Recording:
    """The result of libsndfile if it is complete; otherwise the longest result of any decoder."""
    steps = sndfile.steps_of(source)
    if steps is not None and steps.out_of_step():
        return _decode_in_step(steps, target)
    outcome, reasons = sndfile.Outcome(), []
    best = None
    try:
        if sndfile.opens(source):
            best = record(lambda _: sndfile.blocks(source, outcome), target=target)
    except AudioError as error:
        reasons.append(error)
    if best and outcome.whole and not best.silent:
        return best
    first = best
    for attempt in (_decode_raw, _decode_ffmpeg):
        try:
            best = _better(best, attempt(source, target))
        except AudioError as error:
            reasons.append(error)
    if best is None or not (best.seconds or first):
        raise reasons[0]
    if best is first and outcome.shortfall:
        if not best.seconds and outcome.damaged:
            raise AudioError("is damaged: nothing in it can be decoded")
        best.notes.append(outcome.shortfall)
    elif outcome.damaged and not best.notes:
        best.notes.append(f"is damaged; {best.seconds:.1f} seconds of it could be decoded")
    return best


def _better(one: Recording | None, other: Recording | None) -> Recording | None:
    """The one that is not silent; then the longer; the first if they differ little."""
    if one is None or other is None:
        return one or other
    if one.silent != other.silent and other.seconds:
        return other if one.silent else one
    return other if other.seconds > one.seconds + _LITTLE else one


def _decode_in_step(steps: Reader, target: Target) -> Recording:
    recording = record(lambda _: steps.blocks(), target=target)
    recording.notes.append(
        f"is damaged: bytes were lost or inserted; {recording.seconds:.1f} seconds could be decoded"
    )
    return recording


def _decode_raw(source: Window, target: Target) -> Recording | None:
    if sndfile.raw_blocks(source) is None:
        return None
    recording = record(lambda _: sndfile.raw_blocks(source) or iter(()), target=target)
    recording.notes.append(
        f"continues past the end that its header gives; all {recording.seconds:.1f} seconds are used"
    )
    return recording


def _decode_ffmpeg(source: Window, target: Target) -> Recording:
    """The default stream; if it is silent or cannot be decoded, the next usable one."""
    streams = ffmpeg.streams(source)
    if streams is None and source.at(4, 4) in (b"ftyp", b"mdat"):
        raise AudioError("is an MP4 file without its index (moov): it is cut off, or damaged there")
    if streams is None:
        raise AudioError("is not audio in a format that libsndfile or FFmpeg can read")
    if not streams:
        raise AudioError("has no audio stream")
    silent, reasons = None, []
    for stream in sorted(streams, key=lambda stream: not stream.default):
        try:
            recording = _decode_stream(source, stream, target)
        except AudioError as error:
            reasons.append((stream.index, str(error)))
            continue
        if not recording.silent:
            recording.notes[:0] = [
                f"audio stream {index + 1} {reason}; stream {stream.index + 1} is used"
                for index, reason in reasons
            ]
            return recording
        silent = silent or recording
        reasons.append((stream.index, "is silent"))
    if silent is None:
        raise AudioError(reasons[0][1])
    return silent


def _decode_stream(source: Window, stream: ffmpeg.Stream, target: Target) -> Recording:
    if not stream.decodable:
        raise AudioError("has audio in an unknown codec")
    recording = record(lambda notes: ffmpeg.blocks(source, notes, stream=stream), target=target)
    if not recording.seconds:
        raise AudioError("is damaged: nothing of it can be decoded")
    return recording
