"""Decoding goes on behind a damage, through a change of rate, and to the next stream."""

import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mirex.errors import AudioError
from mirex.features.audio import SAMPLE_RATE, AudioWarning, decode
from synthesis import encode, song

SECONDS = 12.0
FORMATS = {
    "mp3": ("libmp3lame", "mp3"),
    "aac": ("aac", "adts"),
    "flac": ("flac", "flac"),
    "ac3": ("ac3", "ac3"),
    "tta": ("tta", "tta"),
    "wv": ("wavpack", "wv"),
    "m4a": ("aac", "mp4"),
    "alac": ("alac", "mp4"),
    "mkv": ("libmp3lame", "matroska"),
}


@pytest.fixture(autouse=True)
def _warnings_are_errors() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture(scope="module")
def samples() -> NDArray[np.float32]:
    """float32 [12 s, 2] at 44.1 kHz, with noise, so that each second takes as many bytes."""
    noise = np.random.default_rng(1).uniform(-0.05, 0.05, (round(SECONDS * 44100), 2))
    return (0.5 * song(1, seconds=SECONDS, rate=44100)[:, None] + noise).astype(np.float32)


@pytest.fixture(scope="module")
def encodings(tmp_path_factory: pytest.TempPathFactory, samples: NDArray[np.float32]) -> dict[str, bytes]:
    """The song in each format."""
    folder = tmp_path_factory.mktemp("encodings")
    return {
        ending: encode(folder / ending, samples, codec=codec, container=container, rate=44100).read_bytes()
        for ending, (codec, container) in FORMATS.items()
    }


@pytest.fixture
def make(tmp_path: Path, encodings: dict[str, bytes]) -> Callable[[str], Path]:
    """Writes the song, with the ending that is given."""

    def written(ending: str) -> Path:
        path = tmp_path / f"a.{ending}"
        path.write_bytes(encodings[ending])
        return path

    return written


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize(("garbage", "place"), [("zeros", 0.3), ("noise", 0.7)])
def test_what_lies_behind_a_damage_is_used(make, rng, ending, garbage, place):
    path = make(ending)
    whole = SECONDS
    content = bytearray(path.read_bytes())
    start, size = int(place * len(content)), len(content) // 20
    content[start : start + size] = bytes(size) if garbage == "zeros" else rng.bytes(size)
    path.write_bytes(content)
    with pytest.warns(AudioWarning, match="seconds") as caught:
        decoded = len(decode(path)) / SAMPLE_RATE
    assert whole - decoded < 2.2  # 0.6 s are garbage; TTA frames and Matroska clusters are long
    said = re.search(r"about ([\d.]+) seconds were skipped", str(caught[0].message))
    assert said
    assert abs(float(said[1]) - (whole - decoded)) < 0.7


def test_a_bit_that_flips_costs_no_time(make):
    path = make("flac")
    whole = decode(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)
    with pytest.warns(AudioWarning, match="is damaged"):
        assert len(decode(path)) == len(whole)


@pytest.mark.parametrize("ending", ["aac", "mp3"])
def test_the_rate_and_the_channels_change_on_the_way(make, tmp_path, samples, ending):
    codec, container = FORMATS[ending]
    first = make(ending)
    second = encode(tmp_path / "b", samples[::2].mean(axis=1), codec=codec, container=container, rate=22050)
    expected = np.concatenate([decode(first), decode(second)])
    first.write_bytes(first.read_bytes() + second.read_bytes())
    decoded = decode(first)
    assert len(decoded) == pytest.approx(len(expected), abs=0.15 * SAMPLE_RATE)
    pitch = np.abs(np.fft.rfft(decoded[-4 * SAMPLE_RATE :]))
    np.testing.assert_allclose(
        np.argmax(pitch), np.argmax(np.abs(np.fft.rfft(expected[-4 * SAMPLE_RATE :]))), atol=20
    )


class TestStreams:
    """Several audio streams in one container."""

    @pytest.fixture
    def two(self, tmp_path, samples):
        """A file of the song and of another track; which one is flagged as default is given."""

        def encoded(first: NDArray, second: NDArray, *, default: int | None = None) -> Path:
            return encode(
                tmp_path / "a.mkv", first, second,
                codec="aac", container="matroska", rate=44100, default=default,
            )  # fmt: skip

        return encoded

    @pytest.mark.parametrize("default", [0, 1])
    def test_the_default_stream_is_used(self, two, samples, default):
        path = two(samples, 0.25 * samples, default=default)
        assert np.abs(decode(path)).max() == pytest.approx(
            (1, 0.25)[default] * np.abs(samples).max(), rel=0.2
        )

    def test_the_next_if_it_is_silent(self, two, samples):
        path = two(samples, np.zeros_like(samples), default=1)
        with pytest.warns(AudioWarning, match="audio stream 2 is silent; stream 1 is used"):
            assert np.abs(decode(path)).max() > 0.1

    def test_the_next_if_nothing_decodes_it(self, two, samples):
        path = two(samples, samples, default=0)
        path.write_bytes(path.read_bytes().replace(b"A_AAC", b"A_XYZ", 1))
        with pytest.warns(AudioWarning, match="audio stream 1 .*codec.*; stream 2 is used"):
            assert len(decode(path)) > 11 * SAMPLE_RATE

    def test_the_reason_if_nothing_decodes_any(self, two, samples):
        path = two(samples, samples)
        path.write_bytes(path.read_bytes().replace(b"A_AAC", b"A_XYZ"))
        with pytest.raises(AudioError, match="unknown codec"):
            decode(path)

    def test_all_silent(self, two, samples):
        with pytest.raises(AudioError, match="is silent"):
            decode(two(np.zeros_like(samples), np.zeros_like(samples)))


def test_a_container_that_is_cut_off_is_told_of(tmp_path, samples):
    path = encode(
        tmp_path / "a.m4a", samples, codec="aac", container="mp4", rate=44100,
        options={"movflags": "+faststart"},
    )  # fmt: skip
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.warns(AudioWarning, match=r"has only .* of the 12\.0 seconds"):
        decode(path)
