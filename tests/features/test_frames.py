"""A stream of bare frames that ends in the middle of one is told of; one that ends with a frame is not."""

import struct
import warnings
from pathlib import Path

import numpy as np
import pytest

from mirex.features.audio import AudioWarning, decode
from mirex.features.containers import Window
from mirex.features.frames import stream_is_cut
from synthesis import encode, song

# Of each: codec, container of FFmpeg, its name when read, options of the container.
FORMATS = {
    "mp2": ("mp2", "mp2", "mp3", {}),
    "mp3": ("libmp3lame", "mp3", "mp3", {"write_xing": "0", "id3v2_version": "0"}),
    "aac": ("aac", "adts", "aac", {}),
    "latm": ("aac", "latm", "loas", {}),
    "ac3": ("ac3", "ac3", "ac3", {}),
    "eac3": ("eac3", "eac3", "eac3", {}),
}
ID3V1 = b"TAG" + b"x" * 125
APE = b"APETAGEX" + struct.pack("<IIII", 2000, 32, 0, 0) + bytes(8)
LYRICS_1 = b"LYRICSBEGIN" + b"la" * 50 + b"LYRICSEND" + ID3V1
LYRICS_2 = b"LYRICSBEGIN" + b"la" * 50 + b"%06dLYRICS200" % 111 + ID3V1
BEHIND = {
    "nothing": b"", "ID3v1": ID3V1, "APE": APE, "APE and ID3v1": APE + ID3V1, "Lyrics3": LYRICS_1,
    "Lyrics3v2": LYRICS_2, "ID3v2": b"ID3\x04\0\0\0\0\0\x7f" + bytes(127), "zeros": bytes(3000),
    "a zero": b"\0", "a few 0xFF": b"\xff" * 9 + b"\0",
}  # fmt: skip


@pytest.fixture(scope="module")
def encodings(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], bytes]:
    """A song in every format, at rates of two MPEG versions where the codec has both."""
    folder, made = tmp_path_factory.mktemp("encodings"), {}
    for ending, (codec, container, _, options) in FORMATS.items():
        for rate in (44100, 22050) if ending in ("mp2", "mp3", "aac") else (44100,):
            path = folder / f"{rate}.{ending}"
            left = song(1, seconds=3, rate=rate)
            samples = np.stack([left, left[::-1]], axis=1)
            encode(path, samples, codec=codec, container=container, rate=rate, options=options)
            made[ending, rate] = path.read_bytes()
    return made


def warned(path: Path) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        decode(path)
    return [str(each.message) for each in caught]


def written(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "a"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("behind", BEHIND)
def test_a_whole_file_is_not_said_to_be_cut_off(encodings, tmp_path, behind):
    for (ending, rate), content in encodings.items():
        path = written(tmp_path, content + BEHIND[behind])
        with open(path, "rb") as file:
            assert not stream_is_cut(Window(file), form=FORMATS[ending][2]), (ending, rate)
        if behind != "a few 0xFF":  # what those are, nobody can say
            assert warned(path) == [], (ending, rate)


@pytest.mark.parametrize("behind", ["nothing", "ID3v1"])
@pytest.mark.parametrize("ending", FORMATS)
def test_a_file_that_ends_inside_a_frame_is_said_to_be_cut_off(encodings, tmp_path, ending, behind):
    content = next(data for (of, _), data in encodings.items() if of == ending)
    for lost in (1, 2, 40, len(content) // 3):
        path = written(tmp_path, content[: len(content) - lost] + BEHIND[behind])
        with open(path, "rb") as file:
            assert stream_is_cut(Window(file), form=FORMATS[ending][2]), lost
        assert len(warned(path)) == 1, lost
        with pytest.warns(AudioWarning, match=r"is cut off: it ends after [\d.]+ seconds, in the middle"):
            decode(path)


def test_where_a_frame_ends_nothing_can_be_told(encodings, tmp_path):
    """A header that is not whole counts as the beginning of a frame; a place between two does not."""
    content = encodings["aac", 44100]
    starts = [0]
    while starts[-1] < len(content):
        length = int.from_bytes(content[starts[-1] + 3 : starts[-1] + 6], "big") >> 5 & 0x1FFF
        starts.append(starts[-1] + length)
    for more in range(8):
        with open(written(tmp_path, content[: starts[-10] + more]), "rb") as file:
            assert stream_is_cut(Window(file), form="aac") == (more > 0), more


def test_other_files_are_not_judged(tmp_path, rng):
    """Noise holds the beginnings of frames too, but no chain of them."""
    for size in (0, 3, 100, 300_000):
        with open(written(tmp_path, rng.bytes(size)), "rb") as file:
            assert not any(stream_is_cut(Window(file), form=form) for form in ("mp3", "aac", "ac3", "flac"))


def test_dts(tmp_path):
    """No encoder here makes standard DTS: 96-byte frames by hand, 14 bits of length less one."""
    head = b"\x7f\xfe\x80\x01\xfc" + (0x3C << 18 | 95 << 4).to_bytes(3, "big")
    content = 6 * (head + bytes(88))
    for lost, cut in ((0, False), (1, True), (90, True), (96, False)):
        with open(written(tmp_path, content[: len(content) - lost]), "rb") as file:
            assert stream_is_cut(Window(file), form="dts") == cut, lost
