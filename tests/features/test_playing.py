"""Playing: transposition with fill, stretching, and the second playing of each view."""

import dataclasses

import numpy as np
import pytest

from mirex.features.playing import playings, stretch, transpose
from mirex.features.views import tile
from mirex.settings import NetworkSettings

SETTINGS = NetworkSettings(second_longer=1.5, second_lower=2)


@pytest.mark.parametrize("semitones", [-7, -1, 0, 1, 12])
def test_transposition_fills_with_silence_and_never_rolls(rng, semitones):
    steps = rng.random((84, 6), dtype=np.float32) + 0.1
    moved = transpose(steps, semitones=semitones)
    for b in range(84):
        expected = steps[b - semitones] if 0 <= b - semitones < 84 else np.zeros(6)
        assert np.array_equal(moved[b], expected)


def test_stretch_keeps_ends_and_interpolates():
    steps = np.tile(np.arange(5, dtype=np.float32), (84, 1))
    assert stretch(steps, length=9)[0].tolist() == [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4]
    assert stretch(steps, length=3)[0].tolist() == [0, 2, 4]


@pytest.mark.parametrize("length", [1, 7])
def test_a_single_column_is_repeated(rng, length):
    column = rng.random((84, 1)).astype(np.float32)
    np.testing.assert_array_equal(stretch(column, length=length), np.repeat(column, length, axis=1))


@pytest.mark.parametrize("folded", [False, True])
def test_the_first_playing_is_the_view_itself(rng, folded):
    view = rng.random((36 if folded else 84, 20)).astype(np.float32)
    first, second = playings(view, folded=folded, settings=SETTINGS)
    assert first is view
    assert second.shape == (len(view), 30)
    assert second.dtype == np.float32
    (alone,) = playings(view, folded=folded, settings=dataclasses.replace(SETTINGS, second_longer=0))
    assert alone is view


def test_the_second_playing_of_the_cqt_view_is_lower_with_silence_on_top():
    view = np.zeros((84, 16), np.float32)
    view[[1, 40, 83]] = 1.0
    second = playings(view, folded=False, settings=SETTINGS)[1]
    assert np.flatnonzero(second.all(axis=1)).tolist() == [38, 81]
    assert np.flatnonzero(second.any(axis=1)).tolist() == [38, 81]


def test_the_second_playing_of_the_chroma_view_is_a_tiled_profile_in_another_key(rng):
    profile = rng.random((12, 16)).astype(np.float32)
    second = playings(tile(profile, octaves=3), folded=True, settings=SETTINGS)[1]
    expected = tile(np.roll(stretch(profile, length=24), -2, axis=0), octaves=3)
    np.testing.assert_allclose(second, expected, atol=1e-6)
