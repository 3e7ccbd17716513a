"""Columns of a signal in pieces are those of the whole; memory does not grow with the signal."""

import tracemalloc

import numpy as np
import pytest
import soundfile

from mirex.errors import AudioError
from mirex.features import audio, cqt
from mirex.features.streaming import columns_of_blocks, columns_of_file
from mirex.features.trimming import trimmed
from mirex.settings import FrontEndSettings
from synthesis import song, write, write_m4a

SETTINGS = FrontEndSettings()
COLUMN = SETTINGS.hop * SETTINGS.frames_per_column


def cut(signal, *, size):
    return [signal[start : start + size] for start in range(0, len(signal), size)]


@pytest.mark.parametrize("columns", [0.01, 0.9, 1.0, 64.0, 66.0, 127.99, 130.3, 193.0, 200.0])
@pytest.mark.parametrize("size", [77_777, 10**9])
def test_pieces_equal_the_whole(rng, columns, size):
    signal = rng.uniform(-1, 1, round(columns * COLUMN)).astype(np.float32)
    found = columns_of_blocks(cut(signal, size=size), settings=SETTINGS, piece=64)
    assert np.array_equal(found, cqt.columns(signal, settings=SETTINGS))


def test_a_click_between_pieces():
    signal = np.zeros(140 * COLUMN, np.float32)
    signal[64 * COLUMN - 1] = 1
    found = columns_of_blocks(cut(signal, size=50_000), settings=SETTINGS, piece=64)
    assert np.array_equal(found, cqt.columns(signal, settings=SETTINGS))


def test_file(tmp_path, rng):
    path, seen = tmp_path / "a.wav", []
    soundfile.write(path, rng.uniform(-0.5, 0.5, (88200, 2)), 44100)
    found = columns_of_file(path, settings=SETTINGS, progress=lambda done, total: seen.append((done, total)))
    assert found.silences.shape == (0, 2)
    assert np.array_equal(found.columns, cqt.columns(audio.decode(path), settings=SETTINGS))
    size, passes = path.stat().st_size, [n for n, (done, _) in enumerate(seen) if done == 0]
    assert len(passes) == 2
    for part in (seen[: passes[1]], seen[passes[1] :]):
        assert part[-1] == (size, size)
        assert part == sorted(part)


@pytest.mark.parametrize("name", ["a.flac", "a.m4a"])
def test_silence_is_left_out_as_usual(tmp_path, name):
    """Sound, 10 s of silence, sound, 3 s of silence; libsndfile reads the first file, not the second."""
    music, silence = song(1, seconds=8), np.zeros(10 * 22050, np.float32)
    samples = np.concatenate([music, silence, music, silence[: 3 * 22050]])
    (write_m4a if name == "a.m4a" else write)(tmp_path / name, samples)
    found = columns_of_file(tmp_path / name, settings=SETTINGS)
    decoded = audio.decode(tmp_path / name, sample_rate=22050)
    expected = cqt.columns(trimmed(decoded, settings=SETTINGS), settings=SETTINGS)
    assert np.array_equal(found.columns, expected)
    np.testing.assert_allclose(found.silences, [[8, 18], [26, 29]], atol=0.15)


def test_a_sound_file_is_not_decoded_as_a_whole(tmp_path, rng, monkeypatch):
    soundfile.write(tmp_path / "a.flac", rng.uniform(-0.5, 0.5, 44100), 22050)
    monkeypatch.setattr(audio, "decode_long", None)
    assert columns_of_file(tmp_path / "a.flac", settings=SETTINGS).columns.shape == (84, 4)


def test_what_needs_care_is_decoded_as_usual(tmp_path, rng):
    noise = rng.uniform(-0.5, 0.5, 44100).astype(np.float32)
    soundfile.write(tmp_path / "cancel.wav", np.stack([noise, -noise], 1), 22050, "FLOAT")
    (tmp_path / "cut.wav").write_bytes((tmp_path / "cancel.wav").read_bytes()[:200_000])
    noise[100] = np.nan
    soundfile.write(tmp_path / "nan.wav", noise, 22050, "FLOAT")
    for name in ("cancel", "nan", "cut"):
        path = tmp_path / f"{name}.wav"
        with pytest.warns(audio.AudioWarning):
            found = columns_of_file(path, settings=SETTINGS).columns
        with pytest.warns(audio.AudioWarning):
            expected = cqt.columns(audio.decode(path), settings=SETTINGS)
        assert np.array_equal(found, expected)


@pytest.mark.parametrize("offset", [0, 1000])
def test_dithered_silence_is_silent(tmp_path, rng, offset):
    samples = rng.integers(-1, 2, 44100) + offset
    soundfile.write(tmp_path / "a.wav", samples.astype(np.int16), 22050)
    with pytest.raises(AudioError, match="is silent"):
        columns_of_file(tmp_path / "a.wav", settings=SETTINGS)


def test_memory_is_that_of_a_piece():
    def noise(seconds):
        for second in range(seconds):
            yield np.random.default_rng(second).uniform(-1, 1, 22050).astype(np.float32)

    peaks = []
    for seconds in (100, 300):
        tracemalloc.start()
        columns_of_blocks(noise(seconds), settings=SETTINGS, piece=64)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0]


def test_nothing(tmp_path):
    with pytest.raises(AudioError, match="no audio samples"):
        columns_of_blocks([], settings=SETTINGS)
    (tmp_path / "empty.wav").touch()
    with pytest.raises(AudioError, match="empty"):
        columns_of_file(tmp_path / "empty.wav", settings=SETTINGS)
