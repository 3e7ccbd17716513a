"""Where the audio is in a file, as far as decoders need help with that.

* `Window`: a part of a file as a file of its own.
* `links`: several recordings one after the other in one file (chained Ogg, RFC 3533; concatenated
  files), of which decoders read only the first.
* `pcm_body`: the samples of an uncompressed file (WAV, RF64, AIFF, AU, CAF, W64), and where they end
  according to its header.
* `tail`: bytes at the end that are known not to be audio: tags (ID3v1, ID3v2, APE, Lyrics3), zeros.
"""

import dataclasses
import io
import os
import re
import struct
from collections.abc import Iterator
from typing import Any

SLACK = 4096  # bytes of an intact file that may stay unread

_MOST_CHUNKS = 10_000  # more than a file has, fewer than a walk through samples would find
_MOST_LINKS = 1_000  # more cannot be recordings
_LONGEST_PAGE = 27 + 255 + 255 * 255  # bytes, of Ogg
_LONGEST_TAG = 1 << 24  # bytes, looked for
_PIECE = 1 << 22  # bytes searched at a time
_LONGEST_PATTERN = 16  # bytes, at most 16 of which any pattern below matches
_OGG_START = re.compile(rb"OggS\x00[\x02\x03\x06\x07]")
_ID3_START = re.compile(rb"ID3[\x02-\x04]\x00[\x00-\xf0][\x00-\x7f]{4}")
_TTA_START = re.compile(rb"TTA1[\x01-\x03]\x00[\x01-\x08]\x00")
_END_CODE = 0xB9
_PACK_START = b"\0\0\1\xba"
_FLV_START = re.compile(rb"FLV\x01[\x01\x04\x05]\0\0\0\x09\0\0\0\0")
_RM_START = re.compile(rb"\.RMF\0\0\0\x12")
_ASF_START = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_FLAC_START = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")
_MAGICS = (b"RIFF", b"RIFX", b"RF64", b"BW64", b"FORM", b"caff", b".snd", b"riff", b"fLaC", b"OggS")


class Window(io.RawIOBase):
    """A part of a file, read as if it were a whole file.

    Parameters
    ----------
    file : file object
        An open file with a descriptor. It stays open when the window is closed.
    start, end : int
        In bytes, `end` excluded; by default the whole file.
    """

    def __init__(self, file: io.BufferedReader, start: int = 0, end: int | None = None) -> None:
        super().__init__()
        size = os.fstat(file.fileno()).st_size
        self.file, self.start, self.end = file, start, size if end is None else end
        self.is_whole = self.start == 0 and self.end == size
        self._position = 0

    @property
    def size(self) -> int:
        """Size of the window.

        Returns
        -------
        int
            In bytes.
        """
        return self.end - self.start

    def part(self, start: int, end: int) -> "Window":
        """Make a window on a part of this one.

        Parameters
        ----------
        start, end : int
            In bytes, from the start of this window; `end` excluded.

        Returns
        -------
        Window
            On the same open file.
        """
        return Window(self.file, self.start + start, self.start + end)

    def at(self, position: int, size: int) -> bytes:
        """Read bytes at a position, without moving the reading position.

        Parameters
        ----------
        position : int
            In bytes, from the start of the window.
        size : int
            How many bytes to read at most.

        Returns
        -------
        bytes
            Up to `size` bytes.
        """
        position, size = max(0, position), min(size, self.size - position)
        return os.pread(self.file.fileno(), size, self.start + position) if size > 0 else b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self.at(self._position, len(buffer))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        return self._position


@dataclasses.dataclass(frozen=True)
class Body:
    """The samples of an uncompressed file.

    Attributes
    ----------
    start : int
        Where they begin, in bytes.
    size : int
        How many bytes the header gives them; -1 if it says "to the end".
    chunk : str
        `struct` form of the chunk headers that may follow: identifier and size.
    """

    start: int
    size: int
    chunk: str = ""


def links(source: Window) -> list[Window]:
    """Find the recordings that follow each other in a file.

    Parameters
    ----------
    source : Window
        The file.

    Returns
    -------
    list of Window
        At least one; the file itself if there is only one.
    """
    begin = id3_length(source, 0)
    head = source.at(begin, 16)
    if head[:4] == b"OggS":
        starts = _ogg_starts(source)
    elif head[:4] == b"fLaC":
        starts = _found(source, _FLAC_START)
    elif head[:4] == b"TTA1":
        starts = _found(source, _TTA_START)
    elif head == _ASF_START:
        starts = _found(source, re.compile(re.escape(_ASF_START)))
    elif head[:4] == b"FLV\x01":
        starts = _found(source, _FLV_START)
    elif head[:4] == b".RMF":
        starts = _found(source, _RM_START)
    elif head[4:8] == b"ftyp":
        starts = _mp4_starts(source)
    elif head[:4] in _MAGICS:
        starts = _joined_starts(source)
    else:
        return [source]
    edges = [0, *starts[1:], source.size]
    if len(edges) == 2 or len(edges) > _MOST_LINKS:
        return [source]
    return [source.part(start, end) for start, end in zip(edges, edges[1:], strict=False)]


def pcm_body(source: Window) -> Body | None:
    """Find the samples of an uncompressed file.

    Parameters
    ----------
    source : Window
        The file.

    Returns
    -------
    Body or None
        For a WAV, RF64, AIFF, AU, CAF or W64 file; None for other files.
    """
    head = source.at(0, 16)
    if head[:4] in (b"RIFF", b"RF64", b"BW64") and head[8:12] == b"WAVE":
        return _riff_body(source, "<4sI")
    if head[:4] == b"RIFX" and head[8:12] == b"WAVE":
        return _riff_body(source, ">4sI")
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return _aiff_body(source)
    if head[:4] == b"caff":
        return _caf_body(source)
    if head[:4] == b".snd":
        start, size = struct.unpack(">II", source.at(4, 8).ljust(8, b"\0"))
        return Body(start, -1 if size == 0xFFFFFFFF else size)
    if head == _W64_RIFF:
        return _w64_body(source)
    return None


def rest(source: Window, body: Body) -> int:
    """Find where unaccounted bytes begin: after the samples and the chunks that follow them.

    Parameters
    ----------
    source : Window
        The file.
    body : Body
        Its samples, as `pcm_body` gives them.

    Returns
    -------
    int
        In bytes.
    """
    end = source.size if body.size < 0 else min(body.start + body.size, source.size)
    return _after_chunks(source, end, body.chunk) if body.chunk else end


def tail(source: Window) -> int:
    """Find where the audio of a file ends at the latest: only tags and zeros follow.

    Parameters
    ----------
    source : Window
        The file.

    Returns
    -------
    int
        In bytes; the file's size if it ends with neither.
    """
    end = without_tags(source)
    while end and not (block := source.at(max(0, end - 65536), min(end, 65536))).rstrip(b"\0"):
        end -= len(block)
    return end - (len(block) - len(block.rstrip(b"\0"))) if end else 0


def without_tags(source: Window) -> int:
    """Where the tags at the end of a file begin.

    Parameters
    ----------
    source : Window
        The file.

    Returns
    -------
    int
        In bytes; the file's size if it ends with none.
    """
    end = source.size
    while (shorter := _without_tag(source, end)) < end:
        end = shorter
    return end


def id3_length(source: Window, position: int) -> int:
    """How long the ID3v2 tag is that begins at a given place.

    Parameters
    ----------
    source : Window
        The file.
    position : int
        In bytes.

    Returns
    -------
    int
        In bytes; 0 if no tag begins there.
    """
    head = source.at(position, 10)
    return 10 + _synchsafe(head[6:10]) if head[:3] == b"ID3" and len(head) == 10 else 0


def tag_before(source: Window, end: int) -> int:
    """Find where an ID3v2 tag without a footer begins, given its end.

    Parameters
    ----------
    source : Window
        The file.
    end : int
        Where the tag ends, in bytes.

    Returns
    -------
    int
        In bytes; `end` if no tag ends there.
    """
    start = max(0, end - _LONGEST_TAG)
    data = source.at(start, end - start)
    place = len(data)
    for _ in range(_MOST_CHUNKS):
        place = data.rfind(b"ID3", 0, place)
        if place < 0:
            break
        if abs(place + id3_length(source, start + place) - len(data)) <= SLACK:
            return start + place
    return end


def tag_bytes(source: Window) -> int:
    """Count the bytes of tags: ID3v2 anywhere, other tags at the end.

    Parameters
    ----------
    source : Window
        The file.

    Returns
    -------
    int
        At most the file's size.
    """
    inside = sum(id3_length(source, position) for position in _found(source, _ID3_START))
    return min(source.size, inside + source.size - tail(source))


def find(source: Window, pattern: re.Pattern[bytes], *, after: int) -> int | None:
    """Find the next place of a pattern.

    Parameters
    ----------
    source : Window
        The file.
    pattern : compiled pattern of bytes
        What to look for.
    after : int
        In bytes; the pattern must begin after this position.

    Returns
    -------
    int or None
        In bytes; None if there is none.
    """
    return next(_matches(source, pattern, after + 1), None)


def _without_tag(source: Window, end: int) -> int:
    """The end without one tag before it, if there is one."""
    last = source.at(end - 128, min(end, 128))
    if len(last) == 128 and last.startswith(b"TAG"):
        return end - 128
    if last[-32:-24] == b"APETAGEX":
        size, _, flags = struct.unpack("<III", last[-20:-8])
        return max(0, end - size - (32 if flags >> 31 else 0))
    if last[-9:] == b"LYRICS200" and last[-15:-9].isdigit():
        return max(0, end - 15 - int(last[-15:-9]))
    if last[-10:-7] == b"3DI":
        return max(0, end - 20 - _synchsafe(last[-4:]))
    return end


def _synchsafe(digits: bytes) -> int:
    return sum((digit & 127) << 7 * place for place, digit in enumerate(reversed(digits)))


def _found(source: Window, pattern: re.Pattern[bytes]) -> list[int]:
    return list(_matches(source, pattern, 0))


def _matches(source: Window, pattern: re.Pattern[bytes], start: int) -> Iterator[int]:
    """Places of a pattern from a position on, in bytes.

    The file is read in pieces, not mapped, since all that is mapped and looked at counts as memory.
    """
    while start < source.size:
        data = source.at(start, _PIECE + _LONGEST_PATTERN)
        behind = min(len(data), _PIECE)
        for found in pattern.finditer(data):
            if found.start() >= _PIECE:  # the next piece has all of it
                break
            yield start + found.start()
            behind = max(behind, found.end())
        start += behind
        if len(data) < _PIECE:
            return


def _ogg_starts(source: Window) -> list[int]:
    """First pages of the links: those that begin a stream and do not just add it to others."""
    starts, due = [], -1
    for position in _found(source, _OGG_START):
        if position != due:
            starts.append(position)
        header = source.at(position, 27 + 255)
        segments = header[26] if len(header) > 26 else 0
        due = position + 27 + segments + sum(header[27 : 27 + segments])
    return starts


def ogg_is_cut(source: Window) -> bool:
    """Whether an Ogg file ends in the middle of a page.

    Parameters
    ----------
    source : Window
        The file.

    Returns
    -------
    bool
        False if it is not an Ogg file.
    """
    start = max(0, source.size - 2 * _LONGEST_PAGE)
    data = source.at(start, source.size - start)
    page = data.rfind(b"OggS\0")
    if source.at(0, 4) != b"OggS" or page < 0:
        return False
    segments = data[page + 27 : page + 27 + data[page + 26]] if page + 26 < len(data) else b""
    return len(data) < page + 27 or len(data) < page + 27 + len(segments) + sum(segments)


def riff_is_cut(source: Window) -> bool:
    """Whether a RIFF file is shorter than its first header says, padding aside.

    Parameters
    ----------
    source : Window
        The file.

    Returns
    -------
    bool
        False if it is not a RIFF file.
    """
    head = source.at(0, 8)
    return head[:4] == b"RIFF" and len(head) == 8 and source.size + 1 < 8 + int.from_bytes(head[4:], "little")


def transport_stream_is_cut(source: Window) -> bool:
    """Whether an MPEG transport stream (ISO/IEC 13818-1) ends in the middle of a packet.

    Parameters
    ----------
    source : Window
        The file.

    Returns
    -------
    bool
        False if it has no such packets at its start.
    """
    for size, place in ((188, 0), (192, 4), (204, 0)):  # plain, with time stamps, with error correction
        if all(source.at(place + number * size, 1) == b"G" for number in range(4)):
            return source.size % size > 0
    return False


def program_stream_is_cut(source: Window) -> bool:
    """Whether an MPEG program stream (ISO/IEC 13818-1, 11172-1) ends in the middle of a packet.

    Parameters
    ----------
    source : Window
        The file.

    Returns
    -------
    bool
        False if unknown: without packs near the end, or if other bytes follow the last packet.
    """
    start = max(0, source.size - 2 * _LONGEST_PAGE)
    data = source.at(start, source.size - start)
    place = data.find(_PACK_START)
    while 0 <= place < len(data):
        head = data[place : place + 14].ljust(14, b"\0")
        if head[:3] != _PACK_START[:3] or head[3] == _END_CODE:
            return False
        packed = 14 + (head[13] & 7) if head[4] >> 6 == 1 else 12
        place += packed if head[3] == _PACK_START[3] else 6 + int.from_bytes(head[4:6])
    return place > len(data)


def amount(size: int) -> str:
    """Put a number of bytes into words.

    Parameters
    ----------
    size : int
        In bytes.

    Returns
    -------
    str

    Examples
    --------
    >>> amount(1_234_567), amount(20_000)
    ('1.2 MB', '20 kB')
    """
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


def _mp4_starts(source: Window) -> list[int]:
    starts, position = [], 0
    for _ in range(_MOST_CHUNKS):
        head = source.at(position, 16)
        if len(head) < 8:
            break
        size, kind = struct.unpack(">I4s", head[:8])
        if size == 1 and len(head) == 16:
            size = int.from_bytes(head[8:], "big")
        if kind == b"ftyp":
            starts.append(position)
        if size < 8:
            break
        position += size
    return starts or [0]


def _joined_starts(source: Window) -> list[int]:
    starts = [0]
    for _ in range(_MOST_CHUNKS):
        part = source.part(starts[-1], source.size)
        body = pcm_body(part)
        if body is None or body.size <= 0:
            break
        end = rest(part, body)
        if part.at(end, 4) not in _MAGICS or part.size - end < 44:
            break
        starts.append(starts[-1] + end)
    return starts


def _chunks(source: Window, position: int, form: str) -> Iterator[tuple[bytes, int, int]]:
    """(identifier, start of the content, its size) of the chunks from a position."""
    length = struct.calcsize(form)
    for _ in range(_MOST_CHUNKS):
        head = source.at(position, length)
        if len(head) < length:
            return
        name, size = struct.unpack(form, head)
        yield name, position + length, size
        position += length + size + (size & 1 if length == 8 else 0)


def _after_chunks(source: Window, end: int, form: str) -> int:
    """The end of the chunks that follow the samples; `end` if they do not make sense."""
    position = end + (end & 1) if struct.calcsize(form) == 8 and source.at(end, 1) == b"\0" else end
    for name, start, size in _chunks(source, position, form):
        sensible = re.fullmatch(rb"[ -~\xa9]{4}", name) and name not in _MAGICS
        if not sensible or size < 0 or start + size > source.size + SLACK:
            break
        position = min(source.size, start + size + (size & 1 if struct.calcsize(form) == 8 else 0))
    return position


def _riff_body(source: Window, form: str) -> Body | None:
    long_size = 0
    for name, start, size in _chunks(source, 12, form):
        if name == b"ds64":
            long_size = int.from_bytes(source.at(start + 8, 8), "little")
        if name == b"data":
            if size == 0xFFFFFFFF:
                size = long_size if source.at(0, 4) != b"RIFF" else -1
            return Body(start, size, form)
    return None


def _aiff_body(source: Window) -> Body | None:
    for name, start, size in _chunks(source, 12, ">4sI"):
        if name == b"SSND":
            offset = int.from_bytes(source.at(start, 4), "big")
            return Body(start + 8 + offset, max(0, size - 8 - offset), ">4sI")
    return None


def _caf_body(source: Window) -> Body | None:
    for name, start, size in _chunks(source, 8, ">4sq"):
        if name == b"data":
            return Body(start + 4, size if size < 0 else max(0, size - 4), ">4sq")
        if size < 0:
            return None
    return None


_W64_RIFF = bytes.fromhex("726966662e91cf11a5d628db04c10000")
_W64_DATA = bytes.fromhex("64617461f3acd3118cd100c04f8edb8a")


def _w64_body(source: Window) -> Body | None:
    position = 40
    for _ in range(_MOST_CHUNKS):
        head = source.at(position, 24)
        if len(head) < 24:
            return None
        size = int.from_bytes(head[16:], "little")
        if head[:16] == _W64_DATA:
            return Body(position + 24, max(0, size - 24))
        position += max(24, (size + 7) // 8 * 8)
    return None
