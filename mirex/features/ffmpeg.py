"""FFmpeg (PyAV) as a decoder: every audio stream of a container, packet by packet.

A packet that cannot be demuxed or decoded is skipped, and the total loss is reported. A stream
may change its sample rate, sample format and channels at any frame. Only the file's own bytes are
read: no protocol handler is used, whatever a playlist says.
"""

import dataclasses
import re
from array import array
from collections.abc import Iterator
from typing import Any

import numpy as np

from mirex._typing import Samples
from mirex.features import containers
from mirex.features.containers import SLACK, Window
from mirex.features.frames import stream_is_cut
from mirex.features.track import HIGHEST_RATE, LOWEST_RATE, Blocks

_BLOCK_FRAMES = 1 << 15  # gathered before they are passed on; a packet holds about 1,000
_MOST_ERRORS = 10_000  # of the demuxer; more than a damaged file has, fewer than a loop
_REPORTED = 0.1  # seconds; less is lost at the ends of good files too
_BARE = {"mp3", "aac", "flac", "ac3", "eac3", "dts", "loas", "tta", "wv"}  # formats without a container
# Those that write a length that they know; for others it is guessed from the bit rate.
_TRUE_LENGTHS = {"matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2", "asf", "avi", "flv", "rm"}
_TO_THE_END = {"mpegts", "mpeg", "nut"}  # those that have nothing but packets, up to the end
_PROMISE_KEPT = 0.99
_UNREAD_SHARE = 0.01  # of an intact file, at most
_PADDING = 0.2  # seconds; encoders add less at both ends
_SYNCS = {"wv": re.compile(b"wvpk")}  # where a demuxer that gives up can resume
_LOSSLESS = {"flac", "tta", "wavpack"}


@dataclasses.dataclass(frozen=True)
class Stream:
    """An audio stream of a container.

    Attributes
    ----------
    index : int
        Among the audio streams, from 0.
    default : bool
        Whether the container marks it as the one to play.
    decodable : bool
        Whether FFmpeg knows its codec.
    trimmed : bool
        Whether an MP4 edit list omits a part of it.
    """

    index: int
    default: bool
    decodable: bool
    trimmed: bool


def streams(source: Window) -> list[Stream] | None:
    """List the audio streams of a file, in the file's order.

    Parameters
    ----------
    source : Window
        The file's bytes.

    Returns
    -------
    list of Stream, or None
        None if FFmpeg does not know the container.
    """
    container = _open(source)
    if container is None:
        return None
    with container:
        return [
            Stream(
                index,
                default="default" in _flags(stream),
                decodable=stream.codec_context is not None,
                trimmed=_is_trimmed(container, stream),
            )
            for index, stream in enumerate(container.streams.audio)
        ]


def blocks(source: Window, notes: list[str], *, stream: Stream) -> Blocks:
    """Decode one audio stream.

    Parameters
    ----------
    source : Window
        The file's bytes.
    notes : list of str
        A note on what was skipped is appended at the end.
    stream : Stream
        One of those from `streams`. A trimmed one is decoded completely.

    Yields
    ------
    tuple of int and float32 [frames, channels]
        Sample rate in Hz, samples with full scale 1.0.
    """
    options = {"ignore_editlist": "1"} if stream.trimmed else {}
    container, losses, whole = _open(source, options), None, source
    while container is not None:
        with container:
            if stream.index >= len(container.streams.audio):  # a damaged header may show them at times
                break
            name, audio = container.format.name, container.streams.audio[stream.index]
            # Otherwise a damaged frame passes as noise. In bare FLAC, whose damage libsndfile has seen, noise
            # is better: dropping the frame would drop its neighbours in the packet.
            if audio.codec_context.name in _LOSSLESS and name != "flac":
                audio.codec_context.options = {"err_detect": "crccheck+explode"}
            losses = losses or _Losses(whole, container, audio)
            losses.reached = 0
            yield from _gathered(_frames(_packets(container, audio, source), losses))
        # The demuxer has read further than to the end of its last packet.
        behind = containers.find(source, _SYNCS[name], after=losses.reached) if name in _SYNCS else None
        if behind is None:
            break
        source = source.part(behind, source.size)
        container = _open(source)
    notes += losses.notes() if losses else []
    if stream.trimmed:
        notes.append("its edit list omits a part of it; all of its audio is used")


def _open(source: Window, options: dict[str, str] | None = None) -> Any:
    import av

    source.seek(0)
    try:
        return av.open(source, options={"protocol_whitelist": "pipe", **(options or {})})
    except (av.FFmpegError, OSError, ValueError):
        return None


def _is_trimmed(container: Any, stream: Any) -> bool:
    """Whether the edit list omits more than the ends of the first and the last packet."""
    import av

    if not container.format.name.startswith("mov,") or not stream.frames or stream.codec_context is None:
        return False
    size, rate = stream.codec_context.frame_size, stream.codec_context.sample_rate
    held = stream.frames * size / rate if size > 1 and rate else 0.0
    if stream.duration and held and stream.duration * stream.time_base > _PROMISE_KEPT * held - _PADDING:
        return False
    packets, end = 0, 0
    try:
        for packet in container.demux(stream):
            if packet.size:
                packets, end = packets + 1, max(end, (packet.pts or 0) + (packet.duration or 0))
    except (av.FFmpegError, OSError, ValueError):
        return False
    # A file that is cut off ends before its length is reached.
    return packets < _PROMISE_KEPT * stream.frames and end >= _PROMISE_KEPT * (stream.duration or 0)


def _flags(stream: Any) -> str:
    return str(stream.disposition.name or "") if stream.disposition else ""


class _Losses:
    """Adds up what was skipped.

    Containers give each packet a time. In a stream of bare frames the parser adds garbage to the packet
    before it, so only the number of bytes shows it. Lossless formats know their length.
    """

    def __init__(self, source: Window, container: Any, stream: Any) -> None:
        self._source = source
        self._form = container.format.name
        self._bare = self._form in _BARE
        exact = stream.codec_context.name in _LOSSLESS and self._bare and stream.duration
        self._promised = float(stream.duration * stream.time_base) if exact else 0.0
        # Matroska knows the length of the whole file only, which a video may make longer.
        kept = container.format.name in _TRUE_LENGTHS and stream.duration
        alone = container.format.name in _TRUE_LENGTHS and len(container.streams) == 1
        self._length = float(stream.duration * stream.time_base) if kept else 0.0
        if not kept and alone and container.duration:
            self._length = container.duration / 1e6
        self._sizes, self._lengths = array("d"), array("d")  # bytes and seconds of the packets
        self._seconds = self._missing = self._failed = 0.0
        self._next: float | None = None  # when the next frame is due
        # Video may follow the last packet of the audio.
        self._to_the_end = self._form in _TO_THE_END and len(container.streams) == 1
        self.reached = 0  # end of the last packet, in bytes

    def packet(self, packet: Any, seconds: float) -> None:
        self.reached = max(self.reached, (packet.pos or 0) + packet.size)
        if self._bare:
            self._sizes.append(packet.size)
            self._lengths.append(seconds)

    def failed(self, packet: Any) -> None:
        self.packet(packet, 0.0)
        if packet.duration and packet.time_base:
            self._failed += float(packet.duration * packet.time_base)

    def frame(self, frame: Any) -> float:
        seconds = frame.samples / frame.sample_rate
        self._seconds += seconds
        if frame.time is not None:
            if self._next is not None and frame.time > self._next + _REPORTED:
                self._missing += frame.time - self._next
            self._next = frame.time + seconds
        return float(seconds)

    def notes(self) -> list[str]:
        lost = self._lost()
        if lost >= _REPORTED and self._seconds:
            return [f"is damaged: about {lost:.1f} seconds were skipped"]
        if self._seconds < _PROMISE_KEPT * self._length:
            length = f"{self._length:.1f} seconds in its header"
            return [f"has only {self._seconds:.1f} of the {length}"]
        unit = self._cut_unit()
        if unit:
            return [f"is cut off: it ends after {self._seconds:.1f} seconds, in the middle of a {unit}"]
        unread = self._source.size - self.reached
        if self._to_the_end and unread > max(SLACK, _UNREAD_SHARE * self._source.size):
            whole = containers.amount(self._source.size)
            return [f"its last {containers.amount(unread)} of {whole} could not be read as audio"]
        return []

    def _cut_unit(self) -> str:
        """In the middle of what the file ends; "" for nothing."""
        if self._form == "ogg" and containers.ogg_is_cut(self._source):
            return "page"
        if self._form == "mpegts" and containers.transport_stream_is_cut(self._source):
            return "packet"
        if self._form == "mpeg" and containers.program_stream_is_cut(self._source):
            return "packet"
        if self._form == "avi" and containers.riff_is_cut(self._source):
            return "chunk"
        return "frame" if stream_is_cut(self._source, form=self._form) else ""

    def _lost(self) -> float:
        if not self._bare:
            lost = max(self._missing, self._failed)
            # A damaged time stamp makes a gap of any length.
            return lost if lost <= self._length or not self._length else self._length - self._seconds
        if self._promised:
            return max(self._promised - self._seconds, self._failed)
        return self._lost_bytes()

    def _lost_bytes(self) -> float:
        """Bytes that the demuxer dropped, and those that make packets far too long, in seconds."""
        sizes, lengths = np.array(self._sizes), np.array(self._lengths)
        good = lengths > 0
        if not good.any():
            return 0.0
        rates = sizes[good] / lengths[good]
        usual = 2 * float(np.percentile(rates, 99))  # bytes a second
        most = usual * np.maximum(lengths, np.median(lengths[good]))
        rate = float(np.minimum(sizes, most)[good].sum() / lengths[good].sum())
        lost = np.where(good, np.maximum(0, sizes - most), sizes).sum() + self._source.size - sizes.sum()
        if lost > _REPORTED * rate:
            lost -= containers.tag_bytes(self._source)
        return float(lost / rate)


def _packets(container: Any, stream: Any, source: Window) -> Iterator[Any]:
    """Packets of a stream, including those after an error of the demuxer."""
    import av

    last, stuck = -1, 0
    for _ in range(_MOST_ERRORS):
        try:
            yield from container.demux(stream)
            return
        except (av.FFmpegError, OSError, ValueError, IndexError):
            # IndexError: a packet of a stream that appears only here in a damaged file (FLV, MPEG-TS).
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
        seconds = 0.0
        for frame in frames:
            if frame.samples and LOWEST_RATE <= frame.sample_rate <= HIGHEST_RATE:
                seconds += losses.frame(frame)
                yield frame.sample_rate, _samples(frame)
        losses.packet(packet, seconds)


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
    """Join frames of one rate and number of channels, since every block has a fixed cost."""
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
