"""Columns of a signal in pieces are those of the whole; memory does not grow with the signal."""

import tracemalloc

import numpy as np
import pytest
import soundfile

from mirex.errors import AudioError
from mirex.features import audio, cqt
from mirex.features.streaming import columns_of_blocks, columns_of_file
from mirex.settings import FrontEndSettings

SETTINGS = FrontEndSettings()
COLUMN = SETTINGS.hop * SETTINGS.frames_per_column


def cut(signal, *, size):
    return [signal[start : start + size] for start in range(0, len(signal), size)]


@pytest.mark.parametrize("columns", [0.01, 0.9, 1.0, 4.99, 5.0, 9.3, 21.0])
@pytest.mark.parametrize("size", [777, 10**9])
def test_pieces_equal_the_whole(rng, columns, size):
    signal = rng.uniform(-1, 1, round(columns * COLUMN)).astype(np.float32)
    found = columns_of_blocks(cut(signal, size=size), settings=SETTINGS, piece=3)
    expected = cqt.columns(signal, settings=SETTINGS)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_click_between_pieces(rng):
    signal = np.zeros(12 * COLUMN, np.float32)
    signal[3 * COLUMN - 1] = 1
    found = columns_of_blocks(cut(signal, size=5000), settings=SETTINGS, piece=3)
    np.testing.assert_allclose(found, cqt.columns(signal, settings=SETTINGS), atol=1e-6)


def test_file(tmp_path, rng):
    path, seen = tmp_path / "a.wav", []
    soundfile.write(path, rng.uniform(-0.5, 0.5, (88200, 2)), 44100)
    found = columns_of_file(path, settings=SETTINGS, progress=lambda done, total: seen.append((done, total)))
    np.testing.assert_allclose(found, cqt.columns(audio.decode(path), settings=SETTINGS), atol=1e-5)
    size = path.stat().st_size
    assert seen[-1] == (size, size)
    assert seen == sorted(seen)


def test_a_sound_file_is_not_decoded_as_a_whole(tmp_path, rng, monkeypatch):
    soundfile.write(tmp_path / "a.flac", rng.uniform(-0.5, 0.5, 44100), 22050)
    monkeypatch.setattr(audio, "decode", None)
    assert columns_of_file(tmp_path / "a.flac", settings=SETTINGS).shape == (84, 4)


def test_what_needs_care_is_decoded_as_usual(tmp_path, rng):
    noise = rng.uniform(-0.5, 0.5, 44100).astype(np.float32)
    soundfile.write(tmp_path / "cancel.wav", np.stack([noise, -noise], 1), 22050, "FLOAT")
    (tmp_path / "cut.wav").write_bytes((tmp_path / "cancel.wav").read_bytes()[:200_000])
    noise[100] = np.nan
    soundfile.write(tmp_path / "nan.wav", noise, 22050, "FLOAT")
    for name in ("cancel", "nan", "cut"):
        path = tmp_path / f"{name}.wav"
        with pytest.warns(audio.AudioWarning):
            found = columns_of_file(path, settings=SETTINGS)
        with pytest.warns(audio.AudioWarning):
            expected = cqt.columns(audio.decode(path), settings=SETTINGS)
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_memory_is_that_of_a_piece():
    def noise(seconds):
        for second in range(seconds):
            yield np.random.default_rng(second).uniform(-1, 1, 22050).astype(np.float32)

    peaks = []
    for seconds in (20, 100):
        tracemalloc.start()
        columns_of_blocks(noise(seconds), settings=SETTINGS, piece=16)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0]


def test_nothing(tmp_path):
    with pytest.raises(AudioError, match="no audio samples"):
        columns_of_blocks([], settings=SETTINGS)
    (tmp_path / "empty.wav").touch()
    with pytest.raises(AudioError, match="empty"):
        columns_of_file(tmp_path / "empty.wav", settings=SETTINGS)
