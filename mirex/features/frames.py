"""Streams of bare frames: does one end in the middle of a frame, because the file was cut off?

No container gives the length of such a file, but each frame's header gives that of the frame: MPEG audio
(ISO/IEC 11172-3, 13818-3), AAC in ADTS and LOAS (ISO/IEC 14496-3), AC-3 and E-AC-3 (ETSI TS 102 366), DTS
(ETSI TS 102 114). The last frames are followed from header to header. Whatever comes after a complete frame,
such as tags and padding, is not a frame that was cut off.
"""

from collections.abc import Callable
from typing import NamedTuple

from mirex.features import containers
from mirex.features.containers import Window

_LOOKED_AT = 1 << 17  # bytes at the end; eight of the longest frames
_CHAIN = 4  # frames in a row, each where the one before says; fewer may be chance
_HEADER = 8  # bytes that are enough to parse any


class _Frame(NamedTuple):
    """Content of a header: the frame's length in bytes, and what all frames of a stream have in common."""

    length: int
    kind: int


def stream_is_cut(source: Window, *, form: str) -> bool:
    """Whether a stream of frames ends in the middle of one.

    Parameters
    ----------
    source : Window
        The file.
    form : str
        FFmpeg's name of the format: mp3 (any layer), aac, loas, ac3, eac3, dts.

    Returns
    -------
    bool
        False if unknown: for other formats, free-format MP3, or no frames near the end.
    """
    if form not in _FORMS:
        return False
    end = containers.without_tags(source)
    data = source.at(max(0, end - _LOOKED_AT), min(end, _LOOKED_AT))
    last, behind = _last_frame(data, *_FORMS[form])
    if behind > len(data):
        return True
    # A header that is cut off itself tells no length.
    rest = data[behind : behind + _HEADER]
    alike = rest[:1] == data[last : last + 1] and all((a ^ data[last + 1]) < 0x20 for a in rest[1:2])
    return behind > 0 and 0 < len(rest) < _HEADER and alike


def _last_frame(data: bytes, sync: bytes, parse: Callable[[bytes], _Frame | None]) -> tuple[int, int]:
    """Where the last frame of a chain begins, and where it should end, in bytes; (0, 0) if there is none."""
    position, count, kind, found = 0, 0, None, (0, 0)
    while 0 <= position < len(data):
        head = data[position : position + _HEADER]
        frame = parse(head) if head.startswith(sync) and len(head) == _HEADER else None
        if frame is None:
            position, count = data.find(sync, position + 1), 0
            continue
        count = count + 1 if frame.kind == kind else 1
        if count >= _CHAIN:
            found = position, position + frame.length
        kind, position = frame.kind, position + frame.length
    return found


# kbit/s by index 1 to 14, of version 1 and of the later ones with lower rates, for each layer.
_MPEG_BITRATES = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_MPEG_RATES = (44_100, 48_000, 32_000)


def _mpeg(head: bytes) -> _Frame | None:
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    index, rate_index, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if head[1] < 0xE0 or version == 1 or layer == 4 or rate_index == 3 or index in (0, 15):
        return None
    rate = _MPEG_RATES[rate_index] >> {3: 0, 2: 1, 0: 2}[version]
    bits = 1000 * _MPEG_BITRATES[1 if version == 3 else 2, layer][index - 1]
    if layer == 1:
        length = 4 * (12 * bits // rate + padding)
    else:
        length = (72 if layer == 3 and version != 3 else 144) * bits // rate + padding
    return _Frame(length, (head[1] & 0x1E) << 8 | rate_index)


def _adts(head: bytes) -> _Frame | None:
    length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    if head[1] & 0xF6 != 0xF0 or length < 7:
        return None
    return _Frame(length, (head[1] & 8) << 8 | head[2] & 0xFC)


def _loas(head: bytes) -> _Frame | None:
    return _Frame(3 + ((head[1] & 31) << 8 | head[2]), 0) if head[1] >= 0xE0 else None


_AC3_BITRATES = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640)
_AC3_RATES = (48_000, 44_100, 32_000)
_AC3_SAMPLES = 1536


def _ac3(head: bytes) -> _Frame | None:
    rate_index, code, revision = head[4] >> 6, head[4] & 63, head[5] >> 3
    if revision > 16:
        return None
    if revision > 10:  # E-AC-3
        return _Frame(2 * (1 + ((head[2] & 7) << 8 | head[3])), 4 + rate_index)
    if rate_index == 3 or code >= 2 * len(_AC3_BITRATES):
        return None
    words = 1000 * _AC3_BITRATES[code // 2] * _AC3_SAMPLES // (16 * _AC3_RATES[rate_index])
    return _Frame(2 * (words + (code & 1 if rate_index == 1 else 0)), rate_index)


def _dts(head: bytes) -> _Frame | None:
    length = 1 + ((head[5] & 3) << 12 | head[6] << 4 | head[7] >> 4)
    return _Frame(length, 0) if length >= 96 else None


_FORMS: dict[str, tuple[bytes, Callable[[bytes], _Frame | None]]] = {
    "mp3": (b"\xff", _mpeg),
    "aac": (b"\xff", _adts),
    "loas": (b"\x56", _loas),
    "ac3": (b"\x0b\x77", _ac3),
    "eac3": (b"\x0b\x77", _ac3),
    "dts": (b"\x7f\xfe\x80\x01", _dts),
}
