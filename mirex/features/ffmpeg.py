"""FFmpeg (PyAV) as a decoder: every audio stream of a container, packet by packet.

A packet that cannot be demuxed or decoded is skipped, and how much that was is reported. A stream
may change its sample rate, sample format and channels at any frame. Only the file's own bytes are
read: no protocol handler is reached, whatever a playlist says.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from mirex._typing import Samples
from mirex.features.containers import Window, starts_tag
from mirex.features.track import HIGHEST_RATE, LOWEST_RATE, Blocks

_BLOCK_FRAMES = 1 << 15  # gathered before they are passed on; a packet holds about 1,000
_MOST_ERRORS = 10_000  # of the demuxer; more than a damaged file has, fewer than a loop
_REPORTED = 0.1  # seconds; less is lost at the ends of good files too
# Streams of bare frames: what lies between two packets was skipped.
_BARE = {"mp3", "aac", "flac", "ac3", "eac3", "dts", "loas", "tta", "wv"}


@dataclasses.dataclass(frozen=True)
class Stream:
    """An audio stream of a container.

    Attributes
    ----------
    index : int
        Among the audio streams, from 0.
    default : bool
        Whether the container names it as the one to play.
    decodable : bool
        Whether FFmpeg knows its codec.
    """

    index: int
    default: bool
    decodable: bool


def streams(source: Window) -> list[Stream] | None:
    """The audio streams of a file, in the file's order.

    Parameters
    ----------
    source : Window
        The file's bytes.

    Returns
    -------
    list of Stream, or None
        None if FFmpeg knows no such container.
    """
    container = _open(source)
    if container is None:
        return None
    with container:
        return [
            Stream(index, "default" in _flags(stream), stream.codec_context is not None)
            for index, stream in enumerate(container.streams.audio)
        ]


def blocks(source: Window, notes: list[str], *, index: int) -> Blocks:
    """Decode one audio stream.

    Parameters
    ----------
    source : Window
        The file's bytes.
    notes : list of str
        What was skipped is appended at the end.
    index : int
        Which audio stream, from 0.

    Yields
    ------
    tuple of int and float32 [frames, channels]
        Sample rate in Hz, samples with full scale 1.0.
    """
    container = _open(source)
    if container is None:
        return
    with container:
        stream = container.streams.audio[index]
        # Else a damaged FLAC frame is decoded to noise at full scale.
        stream.codec_context.options = {"err_detect": "crccheck"}
        losses = _Losses(source, bare=container.format.name in _BARE)
        yield from _gathered(_frames(_packets(container, stream, source, losses), losses))
    notes += losses.notes()


def _open(source: Window) -> Any:
    import av

    source.seek(0)
    try:
        return av.open(source, options={"protocol_whitelist": "pipe"})
    except (av.FFmpegError, OSError, ValueError):
        return None


def _flags(stream: Any) -> str:
    return str(stream.disposition.name or "") if stream.disposition else ""


class _Losses:
    """Adds up what was skipped, in seconds."""

    def __init__(self, source: Window, *, bare: bool) -> None:
        self._source, self._bare = source, bare
        self._end: int | None = None  # of the last packet, in bytes
        self._gaps = self._packets = 0  # bytes between packets and in them
        self._seconds = self._missing = self._failed = 0.0
        self._next: float | None = None  # when the next frame is due
        self.errors = 0

    def packet(self, packet: Any) -> None:
        if not self._bare or packet.pos is None or packet.pos < 0:
            return
        if self._end is not None and packet.pos > self._end and not starts_tag(self._source, self._end):
            self._gaps += packet.pos - self._end
        self._end = packet.pos + packet.size
        self._packets += packet.size

    def failed(self, packet: Any) -> None:
        self.errors += 1
        if packet.duration and packet.time_base:
            self._failed += float(packet.duration * packet.time_base)

    def frame(self, frame: Any) -> None:
        seconds = frame.samples / frame.sample_rate
        self._seconds += seconds
        if frame.time is not None:
            if self._next is not None and frame.time > self._next + _REPORTED:
                self._missing += frame.time - self._next
            self._next = frame.time + seconds

    def notes(self) -> list[str]:
        lost = max(self._missing, self._failed)
        if self._bare and self._packets:
            lost = self._failed + self._gaps / self._packets * self._seconds
        if lost >= _REPORTED:
            return [f"is damaged: {lost:.1f} seconds of it were skipped"]
        return ["is damaged: parts of it were skipped"] if self.errors > 1 else []


def _packets(container: Any, stream: Any, source: Window, losses: _Losses) -> Iterator[Any]:
    """Packets of a stream, also those behind an error of the demuxer."""
    import av

    last, stuck = -1, 0
    for _ in range(_MOST_ERRORS):
        try:
            for packet in container.demux(stream):
                losses.packet(packet)
                yield packet
            return
        except (av.FFmpegError, OSError, ValueError):
            losses.errors += 1
            stuck, last = (stuck + 1 if source.tell() == last else 0), source.tell()
            if stuck > 100:  # at one place of the file
                return


def _frames(packets: Iterator[Any], losses: _Losses) -> Blocks:
    import av

    for packet in packets:
        try:
            frames = packet.decode()
        except (av.FFmpegError, OSError, ValueError):
            losses.failed(packet)
            continue
        for frame in frames:
            if frame.samples and LOWEST_RATE <= frame.sample_rate <= HIGHEST_RATE:
                losses.frame(frame)
                yield frame.sample_rate, _samples(frame)


def _samples(frame: Any) -> Samples:
    """Float32 [frames, channels] of a frame in any of FFmpeg's sample formats."""
    array, channels = frame.to_ndarray(), len(frame.layout.channels)
    if not frame.format.is_planar:
        array = array.reshape(-1, channels).T
    if array.dtype.kind == "f":
        return np.asarray(array.T, np.float32)
    if array.dtype == np.uint8:
        return (array.T.astype(np.float32) - np.float32(128)) / np.float32(128)
    return array.T.astype(np.float32) * np.float32(1 / -float(np.iinfo(array.dtype).min))


def _gathered(frames: Blocks) -> Blocks:
    """Joins frames of one rate and as many channels: each block costs as much as many samples."""
    held: list[Samples] = []
    key, size = (0, 0), 0
    for rate, samples in frames:
        if held and ((rate, samples.shape[1]) != key or size >= _BLOCK_FRAMES):
            yield key[0], np.concatenate(held)
            held, size = [], 0
        key = (rate, samples.shape[1])
        held.append(samples)
        size += len(samples)
    if held:
        yield key[0], np.concatenate(held)
