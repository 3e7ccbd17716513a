"""libsndfile as a decoder, and whether it read all of a file.

libsndfile trusts the length in the header. How far it really read shows in the position of its descriptor,
or its window, at the end. Samples after the end that an uncompressed file's header gives are read as raw
samples, if they look like samples.
"""

import dataclasses
import os
import re
from typing import Any

import numpy as np

from mirex._typing import Samples
from mirex.features import containers
from mirex.features.containers import SLACK, Window
from mirex.features.frames import stream_is_cut
from mirex.features.steps import Reader
from mirex.features.track import Blocks

BLOCK_SAMPLES = 1 << 15  # decoded at a time, over all channels
_PROMISE_KEPT = 0.99  # of the header's length; lossy formats round theirs
_UNREAD_SHARE = 0.01
_UNKNOWN_FRAMES = 1 << 50  # an unknown length is given as the largest number
_PLACEHOLDER = 0x7FFF0000  # bytes; a length written by a program that did not know it
_PROBES, _PROBE_FRAMES, _SMOOTH = 16, 4096, 0.4
_WHOLE_NUMBERS = {"PCM_16": "int16", "PCM_32": "int32"}
_RAW = {"PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"}


@dataclasses.dataclass
class Outcome:
    """How decoding ended.

    Attributes
    ----------
    whole : bool
        Whether everything in the file was read, as far as can be told.
    damaged : bool
        Whether it ended with an error.
    shortfall : str
        What to tell the user if something is missing and no other decoder finds more.
    """

    whole: bool = False
    damaged: bool = False
    shortfall: str = ""


def opens(source: Window) -> bool:
    """Whether libsndfile knows the format.

    Parameters
    ----------
    source : Window
        The file's bytes.

    Returns
    -------
    bool
    """
    opened = _open(source)
    if opened is None:
        return False
    opened.close()
    return True


def stated_seconds(source: Window) -> float:
    """The length that a file's header states, which may be wrong.

    Parameters
    ----------
    source : Window
        The file's bytes.

    Returns
    -------
    float
        0.0 if libsndfile does not know the format.
    """
    opened = _open(source)
    if opened is None:
        return 0.0
    with opened:
        return opened.frames / opened.samplerate


def blocks(source: Window, outcome: Outcome) -> Blocks:
    """Decode a file that `opens`.

    Parameters
    ----------
    source : Window
        The file's bytes.
    outcome : Outcome
        Filled in at the end.

    Yields
    ------
    tuple of int and float32 [frames, channels]
        Sample rate in Hz, samples with full scale 1.0.
    """
    import soundfile

    opened, done = _open(source), 0
    assert opened is not None, "blocks() of a file that opens() refuses"
    with opened:
        frames = size = max(1, BLOCK_SAMPLES // opened.channels)
        try:
            while len(block := _read(opened, size)):
                done += len(block)
                # No further than the header says: it takes tags after the last FLAC frame for a damaged one.
                size = min(frames, max(1, opened.frames - done))
                yield opened.samplerate, block
        except soundfile.LibsndfileError:
            outcome.damaged = True
        reached = source.tell() if not source.is_whole else os.lseek(source.file.fileno(), 0, os.SEEK_CUR)
        # Zeros after the last frame of an MP3 are an error to it, unless a header gives the number of frames.
        outcome.damaged &= opened.format != "MP3" or reached < containers.tail(source)
        outcome.shortfall = _shortfall(source, opened, done, reached, outcome.damaged)
    outcome.whole = not outcome.shortfall and done > 0


def _read(opened: Any, frames: int) -> Samples:
    """The next samples, float32 [frames, channels]."""
    # NumPy makes floats of whole numbers three times as fast as libsndfile does.
    found = opened.read(frames, dtype=_WHOLE_NUMBERS.get(opened.subtype, "float32"), always_2d=True)
    if found.dtype == np.float32:
        return found
    scale = np.float32(2.0 ** (1 - 8 * found.itemsize))
    return found.astype(np.float32) * scale


def raw_blocks(source: Window) -> Blocks | None:
    """Decode everything after an uncompressed file's header, if there is audio after the end that it gives.

    Parameters
    ----------
    source : Window
        The file's bytes.

    Returns
    -------
    iterator of (int, float32 [frames, channels]), or None
        None if the file is not uncompressed, or if the data after its samples do not look like samples.
    """
    opened, body = _open(source), containers.pcm_body(source)
    if opened is None:
        return None
    with opened:
        form = {
            "samplerate": opened.samplerate, "channels": opened.channels, "format": "RAW",
            "subtype": opened.subtype, "endian": _endian(source, opened),
        }  # fmt: skip
    if body is None or form["subtype"] not in _RAW:
        return None
    samples = source.part(body.start, containers.tail(source))
    width = _frame_bytes(form)
    begin = -(-(max(0, containers.rest(source, body) - body.start)) // width) * width
    if samples.size - begin <= SLACK or not _looks_like_samples(samples.part(begin, samples.size), form):
        return None
    return _raw_frames(samples, form)


def steps_of(source: Window) -> Reader | None:
    """A reader of an uncompressed file's samples that finds out whether they are in step.

    Parameters
    ----------
    source : Window
        The file's bytes.

    Returns
    -------
    Reader or None
        None if the file is not uncompressed.
    """
    body = containers.pcm_body(source)
    opened = _open(source) if body is not None else None
    if body is None or opened is None:
        return None
    with opened:
        end = source.size if body.size <= 0 else min(source.size, body.start + body.size)
        return Reader(
            source.part(body.start, end), rate=opened.samplerate, channels=opened.channels,
            subtype=opened.subtype, big_endian=_endian(source, opened) == "BIG",
        )  # fmt: skip


def _open(source: Window) -> Any:
    """An open SoundFile, or None."""
    import soundfile

    class ForwardFile(soundfile.SoundFile):
        """Reads strictly forwards: SoundFile seeks after every block, which goes wrong in MP3."""

        def seekable(self) -> bool:
            return False

    source.seek(0)
    try:
        if not source.is_whole:
            return ForwardFile(source)
        # A separate descriptor, because libsndfile closes it, even if it rejects the file. Its offset is
        # shared, and shows how far libsndfile read.
        os.lseek(source.file.fileno(), 0, os.SEEK_SET)
        return ForwardFile(os.dup(source.file.fileno()), closefd=True)
    except soundfile.LibsndfileError:
        return None


def _shortfall(source: Window, opened: Any, done: int, reached: int, damaged: bool) -> str:
    seconds, promised = done / opened.samplerate, opened.frames / opened.samplerate
    if damaged:
        return f"is damaged after {seconds:.1f} seconds; only the part before is used"
    body = containers.pcm_body(source)
    if body is not None and 0 < source.size - body.start < _PROMISE_KEPT * body.size < _PLACEHOLDER:
        promised = seconds * body.size / (source.size - body.start)
    if done < _PROMISE_KEPT * promised * opened.samplerate and not _is_guess(source, opened):
        return f"has only {seconds:.1f} of the {promised:.1f} seconds in its header"
    if containers.ogg_is_cut(source):
        return f"is cut off: it ends after {seconds:.1f} seconds, in the middle of a page"
    if opened.format == "MP3" and stream_is_cut(source, form="mp3"):
        return f"is cut off: it ends after {seconds:.1f} seconds, in the middle of a frame"
    unread = _unread(source, body, reached)
    if unread:
        whole = containers.amount(source.size)
        return f"its last {containers.amount(unread)} of {whole} could not be read as audio"
    return ""


def _is_guess(source: Window, opened: Any) -> bool:
    """Whether no header gives the length: for an MP3 without a count, it is guessed from the size."""
    if opened.frames >= _UNKNOWN_FRAMES:
        return True
    start = containers.id3_length(source, 0)
    return opened.format == "MP3" and not re.search(b"Xing|Info|VBRI", source.at(start, SLACK))


def _unread(source: Window, body: containers.Body | None, reached: int) -> int:
    """How many unread bytes may be audio; 0 if there are no more than in intact files."""
    end = containers.tail(source)
    few = max(SLACK, _UNREAD_SHARE * source.size)
    if body is not None:  # exactly known
        few, reached = SLACK, max(reached, containers.rest(source, body))
    if end - reached > few:
        end = containers.tag_before(source, end)
    return end - reached if end - reached > few else 0


def _endian(source: Window, opened: Any) -> str:
    if opened.endian in ("LITTLE", "BIG"):
        return str(opened.endian)
    return "LITTLE" if source.at(0, 4) in (b"RIFF", b"RF64", b"BW64", b"riff") else "BIG"


def _frame_bytes(form: dict[str, Any]) -> int:
    widths = {"PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8}
    return int(form["channels"]) * widths.get(form["subtype"], 1)


def _looks_like_samples(source: Window, form: dict[str, Any]) -> bool:
    """Whether neighbouring values are mostly similar, as in sound but not in other data."""
    width, smooth, sounding = _frame_bytes(form), 0, 0
    for place in range(_PROBES):
        start = source.size * place // _PROBES // width * width
        piece = source.part(start, min(source.size, start + _PROBE_FRAMES * width))
        pieces = [np.zeros(0, np.float32), *(block[:, 0] for _, block in _raw_frames(piece, form))]
        channel = np.nan_to_num(np.concatenate(pieces).astype(float), posinf=0, neginf=0)
        channel -= channel.mean() if len(channel) else 0
        power = float(np.dot(channel, channel))
        if power > 0 and np.isfinite(power):
            sounding += 1
            smooth += float(np.dot(channel[1:], channel[:-1])) > _SMOOTH * power
    return sounding > 0 and smooth >= 0.75 * sounding


def _raw_frames(source: Window, form: dict[str, Any]) -> Blocks:
    import soundfile

    source.seek(0)
    if source.size < _frame_bytes(form):
        return
    with soundfile.SoundFile(source, **form) as opened:
        frames = max(1, BLOCK_SAMPLES // opened.channels)
        while len(block := _read(opened, frames)):
            yield opened.samplerate, block
