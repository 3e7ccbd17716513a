"""Decoding reads what a file holds, whatever its header says of the length."""

import struct
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mirex.errors import AudioError
from mirex.features.audio import SAMPLE_RATE, AudioWarning, decode
from synthesis import encode, song, write

SECONDS = 8.0


@pytest.fixture(autouse=True)
def _warnings_are_errors() -> Iterator[None]:
    """A recording of which all is used gives no warning; tests of others say which they expect."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture(scope="module")
def stereo() -> NDArray[np.float32]:
    """float32 [8 s, 2] at 44.1 kHz."""
    left, right = song(1, seconds=SECONDS, rate=44100), song(1, seconds=SECONDS, rate=44100, transpose=12)
    return np.stack([left, 0.5 * right], axis=1)


@pytest.fixture(scope="module")
def written() -> dict[tuple, bytes]:
    """What has been encoded already."""
    return {}


Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path, stereo: NDArray[np.float32], written: dict[tuple, bytes]) -> Make:
    """Writes the song, or a part of it, in the format that the name's ending says."""

    def write_part(name: str, *, start: float = 0.0, rate: int = 44100, mono: bool = False) -> Path:
        key = (Path(name).suffix, start, rate, mono)
        if key not in written:
            written[key] = encode_part(name, start=start, rate=rate, mono=mono).read_bytes()
        path = tmp_path / name
        path.write_bytes(written[key])
        return path

    def encode_part(name: str, *, start: float, rate: int, mono: bool) -> Path:
        part = stereo[round(start * 44100) :: 44100 // rate]
        part = part.mean(axis=1) if mono else part
        if name.endswith((".aac", ".m4a")):
            container = "adts" if name.endswith(".aac") else "mp4"
            return encode(tmp_path / name, part, codec="aac", container=container, rate=rate)
        subtype = "OPUS" if name.endswith(".opus") else None
        path = tmp_path / name.replace(".opus", ".ogg")
        return write(path, part, rate=48000 if subtype else rate, subtype=subtype)

    return write_part


def seconds(path: Path) -> float:
    return len(decode(path)) / SAMPLE_RATE


def patch(path: Path, position: int, data: bytes) -> None:
    content = bytearray(path.read_bytes())
    content[position : position + len(data)] = data
    path.write_bytes(content)


def find(path: Path, marker: bytes, *, skip: int = 0) -> int:
    return path.read_bytes().index(marker) + skip


# Where each format keeps its length, and how: (marker, bytes behind its start, struct format, what to add).
LENGTHS = {
    "wav": (b"data", 4, "<I", 0),
    "rf64": (b"ds64", 16, "<Q", 0),
    "aiff": (b"SSND", 4, ">I", 8),
    "au": (b".snd", 8, ">I", 0),
    "caf": (b"data", 4, ">q", 4),
}


@pytest.mark.parametrize("ending", LENGTHS)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.95])
def test_a_length_that_is_too_short(make, ending, share):
    path = make(f"a.{ending}")
    whole = decode(path)
    marker, skip, form, more = LENGTHS[ending]
    size = round(share * SECONDS * 44100) * 4
    patch(path, find(path, marker, skip=skip), struct.pack(form, size + more))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        decoded = decode(path)
    np.testing.assert_allclose(decoded, whole, atol=1e-6)
    if size:
        assert any("continues past" in str(warning.message) for warning in caught)


@pytest.mark.parametrize("ending", ["wav", "au", "caf"])
def test_a_length_that_says_to_the_end(make, ending):
    path = make(f"a.{ending}")
    whole = decode(path)
    marker, skip, form, _ = LENGTHS[ending]
    patch(path, find(path, marker, skip=skip), b"\xff" * struct.calcsize(form))
    assert np.array_equal(decode(path), whole)


def test_a_length_that_is_too_long_is_told_of(make):
    path = make("a.wav")
    patch(path, find(path, b"data", skip=4), struct.pack("<I", 2 * path.stat().st_size))
    with pytest.warns(AudioWarning, match=r"has only 8\.0 of the 16\.0 seconds"):
        assert seconds(path) == SECONDS


@pytest.mark.parametrize("total", [0, 44100, (1 << 36) - 1])
def test_flac_with_a_false_number_of_samples(make, total):
    path = make("a.flac")
    whole = decode(path)
    field = int.from_bytes(path.read_bytes()[18:26], "big") >> 36 << 36
    patch(path, 18, (field | total).to_bytes(8, "big"))
    with warnings.catch_warnings():
        warnings.simplefilter("error" if total <= 44100 else "ignore")
        np.testing.assert_allclose(decode(path), whole, atol=1e-6)


def test_mp3_with_a_false_number_of_frames(make):
    path = make("a.mp3")
    content = path.read_bytes()
    marker = b"Xing" if b"Xing" in content else b"Info"
    patch(path, find(path, marker, skip=8), struct.pack(">I", 60))
    assert seconds(path) == pytest.approx(SECONDS, abs=0.1)


def test_an_edit_list_that_leaves_out_a_part(make):
    path = make("a.m4a")
    whole = seconds(path)
    patch(path, find(path, b"elst", skip=12), struct.pack(">I", 2000))
    with pytest.warns(AudioWarning, match="edit list"):
        assert seconds(path) == pytest.approx(whole, abs=0.1)


@pytest.mark.parametrize("ending", ["wav", "aiff", "caf", "flac", "ogg", "opus", "mp3", "aac", "m4a"])
@pytest.mark.parametrize("rate", [44100, 22050])
def test_recordings_joined_in_one_file(make, ending, rate):
    first, second = make(f"a.{ending}"), make(f"b.{ending}", start=2.0, rate=rate, mono=rate != 44100)
    expected = seconds(first) + seconds(second)
    first.write_bytes(first.read_bytes() + second.read_bytes())
    assert seconds(first) == pytest.approx(expected, abs=0.15)


# Containers that FFmpeg reads, with a codec for each.
CONTAINERS = {
    "mpegts": "aac", "mpeg": "mp2", "nut": "aac", "flv": "aac", "avi": "libmp3lame", "rm": "ac3",
    "asf": "wmav2", "matroska": "aac", "wv": "wavpack",
}  # fmt: skip


@pytest.fixture
def contained(tmp_path: Path, stereo: NDArray[np.float32]) -> Make:
    """Writes the song, or a part of it, in a container."""

    def write_part(container: str, *, start: float = 0.0) -> Path:
        return encode(
            tmp_path / f"{start}.{container}", stereo[round(start * 44100) :], codec=CONTAINERS[container],
            container=container, rate=44100, bit_rate=128_000,
        )  # fmt: skip

    return write_part


@pytest.mark.parametrize("container", CONTAINERS)
def test_containers_joined(contained, container):
    first, second = contained(container), contained(container, start=3.0)
    expected = seconds(first) + seconds(second)
    first.write_bytes(first.read_bytes() + second.read_bytes())
    assert seconds(first) == pytest.approx(expected, abs=0.15)


@pytest.mark.parametrize("container", sorted(set(CONTAINERS) - {"nut"}))
def test_containers_cut_off(contained, container):
    path = contained(container)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10 + 1])
    with pytest.warns(AudioWarning, match="is cut off|has only|seconds were skipped"):
        assert 0.4 * SECONDS < seconds(path) < 0.8 * SECONDS


def test_an_ogg_that_only_ffmpeg_reads(make, monkeypatch):
    path = make("a.ogg")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    monkeypatch.setattr("mirex.features.sndfile.opens", lambda _: False)
    with pytest.warns(AudioWarning, match="is cut off: .* in the middle of a page"):
        assert seconds(path) > 0.4 * SECONDS


@pytest.mark.parametrize("container", ["mpegts", "nut"])
def test_containers_with_noise_at_the_end(contained, rng, container):
    path = contained(container)
    size = path.stat().st_size // 188 // 2 * 188
    path.write_bytes(path.read_bytes()[:size] + rng.bytes(size))
    with pytest.warns(AudioWarning, match="its last .* could not be read as audio|seconds were skipped"):
        assert 0.3 * SECONDS < seconds(path) < 0.7 * SECONDS


def test_an_avi_that_has_lost_a_part(contained):
    path = contained("avi")
    content = bytearray(path.read_bytes())
    middle, size = len(content) // 2, len(content) // 10
    content[middle : middle + size] = bytes(size)
    path.write_bytes(content)
    with pytest.warns(AudioWarning, match=r"has only .* of the 8\.\d seconds in its header"):
        assert seconds(path) < 0.95 * SECONDS


def test_an_mp4_without_its_index(make):
    path = make("a.m4a")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    with pytest.raises(AudioError, match=r"MP4 file without its index \(moov\): it is cut off"):
        decode(path)


def test_a_link_that_is_damaged_is_named(make):
    first, second = make("a.ogg"), make("b.ogg", start=2.0)
    broken = second.read_bytes()[:300] + bytes(20_000)
    first.write_bytes(first.read_bytes() + broken + second.read_bytes())
    with pytest.warns(AudioWarning, match="part 2 of 3 was left out"):
        assert seconds(first) == pytest.approx(2 * SECONDS - 2, abs=0.1)


def id3(content: bytes, *, footer: bool = False) -> bytes:
    digits = bytes(len(content) >> shift & 127 for shift in (21, 14, 7, 0))
    header = b"ID3\x04\0" + (b"\x10" if footer else b"\0") + digits
    return header + content + (b"3DI" + header[3:] if footer else b"")


def ape(content: bytes) -> bytes:
    item = struct.pack("<II", len(content), 2) + b"Cover Art (Front)\0" + content
    fields = struct.pack("<III", 2000, len(item) + 32, 1)
    flags = (1 << 31 | 1 << 29, 1 << 31)
    head, foot = (b"APETAGEX" + fields + struct.pack("<I", flag) + bytes(8) for flag in flags)
    return head + item + foot


def lyrics(content: bytes) -> bytes:
    body = b"LYRICSBEGIN" + content
    return body + b"%06dLYRICS200" % len(body)


ID3V1 = b"TAG" + b"x" * 125


@pytest.mark.parametrize("ending", ["mp3", "flac", "wav"])
@pytest.mark.parametrize("tag", ["ape", "lyrics", "id3", "id3 footer", "zeros"])
def test_tags_at_the_end_are_no_audio(make, rng, ending, tag, monkeypatch):
    path = make(f"a.{ending}")
    whole = decode(path)
    noise = rng.bytes(40_000).replace(b"\xff", b"\0")
    tail = {
        "ape": ape(noise) + ID3V1,
        "lyrics": lyrics(b"a" * 40_000) + ID3V1,
        "id3": id3(noise),
        "id3 footer": id3(noise, footer=True),
        "zeros": bytes(40_000),
    }[tag]
    path.write_bytes(path.read_bytes() + tail)
    monkeypatch.setattr("mirex.features.ffmpeg.streams", lambda _: pytest.fail("decoded twice"))
    assert np.array_equal(decode(path), whole)


def test_a_big_chunk_behind_the_samples_is_no_audio(make, rng):
    path = make("a.wav")
    whole = decode(path)
    path.write_bytes(path.read_bytes() + b"id3 " + struct.pack("<I", 300_000) + rng.bytes(300_000))
    assert np.array_equal(decode(path), whole)


@pytest.mark.parametrize("ending", ["wav", "mp3", "flac", "ogg"])
def test_garbage_behind_a_good_file_is_told_of_and_not_heard(make, rng, ending):
    path = make(f"a.{ending}")
    whole = decode(path)
    path.write_bytes(path.read_bytes() + rng.bytes(100_000))
    with pytest.warns(AudioWarning, match="could not be read|damaged"):
        decoded = decode(path)
    assert len(decoded) == pytest.approx(len(whole), abs=0.1 * SAMPLE_RATE)
    np.testing.assert_allclose(decoded[: len(whole) // 2], whole[: len(whole) // 2], atol=0.01)


def test_what_is_cut_off_is_told_of(make):
    for ending in ("wav", "ogg", "opus", "flac", "mp3"):
        path = make(f"a.{ending}")
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
        with pytest.warns(AudioWarning, match="has only|cut off|damaged"):
            assert 0.4 * SECONDS < seconds(path) < 0.7 * SECONDS
