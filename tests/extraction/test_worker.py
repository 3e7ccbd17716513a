"""What a worker does with a recording: a long one is never in memory as a whole, with the same result."""

import json
import warnings
from io import BytesIO

import numpy as np
import pytest
import soundfile

from mirex.extraction import worker
from mirex.features import streaming
from mirex.features.audio import AudioWarning
from mirex.features.spool import Spool
from mirex.settings import FrontEndSettings
from synthesis import encode, song, write, write_m4a

SETUP = {
    "front_end": FrontEndSettings().to_json(),
    "cqt": "multirate",
    "weights": None,
    "weights_fingerprint": None,
    "backend": "torch",
    "columns": False,
    "samples": False,
    "scratch": ".",
}
SECONDS, LONG = 12.0, 5.0
MUSIC = (0.5 * song(1, seconds=SECONDS)).astype(np.float32)
STEREO = np.stack([MUSIC, 0.7 * MUSIC], 1)
GARBAGE = np.random.default_rng(1).bytes(4000)


def wma(path):
    return encode(path, STEREO, codec="wmav2", container="asf", rate=44100, bit_rate=96_000)


def rate_change(path):
    first = encode(path, STEREO, codec="aac", container="adts", rate=22050).read_bytes()
    second = encode(path, MUSIC, codec="aac", container="adts", rate=11025).read_bytes()
    path.write_bytes(first + second)


def silent_first_stream(path):
    encode(path, np.zeros_like(MUSIC), MUSIC, codec="ac3", container="matroska", rate=44100)


def undecodable_first_stream(path):
    encode(path, MUSIC, MUSIC, codec="aac", container="matroska", default=0)
    path.write_bytes(path.read_bytes().replace(b"A_AAC", b"A_XYZ", 1))


def garbage_inside(path):
    content = wma(path).read_bytes()
    middle = len(content) // 2
    path.write_bytes(content[:middle] + GARBAGE + content[middle + len(GARBAGE) :])


def cut_off(path):
    content = encode(path, STEREO, codec="ac3", container="ac3", rate=44100).read_bytes()
    path.write_bytes(content[: len(content) - 700])


def header_says_little(path):
    """One WAV file after another, of which libsndfile reads the first."""
    parts = [write(path.with_suffix(".wav"), MUSIC[start:]).read_bytes() for start in (0, 100_000)]
    path.write_bytes(b"".join(parts))


def wild_samples(path):
    samples = MUSIC.copy()
    samples[1000:1010] = 1e5
    soundfile.write(path.with_suffix(".wav"), samples, 22050, "FLOAT")
    path.with_suffix(".wav").rename(path)


def another_full_scale(path):
    soundfile.write(path.with_suffix(".wav"), 3e4 * STEREO, 22050, "FLOAT")
    path.with_suffix(".wav").rename(path)


def damaged_flac(path):
    content = bytearray(write(path.with_suffix(".flac"), STEREO).read_bytes())
    content[len(content) // 2 :][:4000] = bytes(4000)
    path.write_bytes(content[: len(content) // 2] + bytes(4000) + content[len(content) // 2 + 4000 :])


CASES = {
    "m4a": (lambda path: write_m4a(path, STEREO), None),
    "wma": (wma, None),
    "mp4 with anti-phase": (
        lambda path: encode(path, np.stack([MUSIC, -MUSIC], 1), codec="alac", container="mp4"),
        "cancel each other out",
    ),
    "the rate changes": (rate_change, None),
    "silence": (
        lambda path: write_m4a(path, np.concatenate([MUSIC, np.zeros(100_000, np.float32), MUSIC])), None,
    ),
    "a silent stream first": (silent_first_stream, "audio stream 1 is silent; stream 2 is used"),
    "an unknown codec first": (undecodable_first_stream, "unknown codec; stream 2 is used"),
    "garbage inside": (garbage_inside, "seconds were skipped"),
    "cut off": (cut_off, "is cut off"),
    "joined": (header_says_little, None),
    "wild samples": (wild_samples, "10 samples beyond 16 x full scale"),
    "another full scale": (another_full_scale, None),
    "a damaged FLAC": (damaged_flac, "seconds were skipped"),
}  # fmt: skip


@pytest.fixture(scope="module")
def analyse():
    return worker._prepare(SETUP)


def analysed(analyse, path):
    """Columns, reported lengths and warnings."""
    lengths: list[float] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = analyse(str(path), lengths.append)["columns"]
    return found, lengths, [str(each.message) for each in caught if each.category is AudioWarning]


@pytest.mark.parametrize("name", CASES)
def test_a_long_recording_gives_the_same_bytes_and_warnings(tmp_path, monkeypatch, analyse, name):
    make, warning = CASES[name]
    path = tmp_path / "recording"
    make(path)
    whole, lengths, told = analysed(analyse, path)
    monkeypatch.setattr(streaming, "LONG", LONG)
    monkeypatch.setattr(Spool, "array", None)
    found, lengths_in_pieces, told_in_pieces = analysed(analyse, path)
    assert np.array_equal(found, whole)
    assert lengths_in_pieces == lengths
    assert len(lengths) == 1
    assert lengths[0] > LONG
    assert told_in_pieces == told
    assert any(warning in each for each in told) if warning else not told


def test_a_full_disk_costs_the_recording(tmp_path, monkeypatch, analyse, full_disk):
    """Also one of which a shorter part could be decoded, and one that another decoder might read."""
    monkeypatch.setattr(streaming, "LONG", LONG)
    for name in ("m4a", "joined", "a damaged FLAC", "a silent stream first"):
        path = tmp_path / "recording"
        CASES[name][0](path)
        answers = BytesIO()
        worker._answer(answers, analyse, str(path))
        answer = json.loads(answers.getvalue())
        assert "do not fit: no space left on device; free some space" in answer["failure"]
        assert not answer["unexpected"]


def test_an_intact_sound_file_needs_no_room_on_disk(tmp_path, monkeypatch, analyse):
    path = tmp_path / "long.flac"
    time = np.arange(30 * 22050) / 22050
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * (200 + 10 * time) * time), 22050)
    whole = analyse(str(path), lambda seconds: None)["columns"]

    monkeypatch.setattr(streaming, "LONG", 10.0)
    monkeypatch.setattr(streaming, "decode_long", None)
    lengths: list[float] = []
    found = analyse(str(path), lengths.append)["columns"]
    assert np.array_equal(found, whole)
    assert lengths == [30]
