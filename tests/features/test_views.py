"""Normalisation: what the network does and does not get to hear."""

import numpy as np
import pytest

from mirex.features import cqt
from mirex.features.views import (
    at_least,
    chroma_view,
    cqt_view,
    fold,
    profile_view,
    sharpen,
    tile,
    to_steps,
    windows,
    without_silence,
)
from mirex.settings import FrontEndSettings, NetworkSettings

SETTINGS = NetworkSettings()


def random_columns(rng: np.random.Generator, columns: int) -> np.ndarray:
    return (10 ** rng.uniform(-4, 0, (84, columns))).astype(np.float32)


# --- steps --------------------------------------------------------------------------------------


def test_steps_are_means_of_columns(rng):
    columns = random_columns(rng, 41)
    found = to_steps(columns, settings=SETTINGS)
    expected = np.array([[row[2 * i : 2 * i + 2].mean() for i in range(20)] for row in columns])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)  # the 41st column is a rest


@pytest.mark.parametrize("per_step", [1, 2, 3, 5])
def test_every_step_length(rng, per_step):
    columns = random_columns(rng, 100)
    settings = NetworkSettings(columns_per_step=per_step)
    found = to_steps(columns, settings=settings)
    assert found.shape == (84, 100 // per_step)
    end = found.shape[1] * per_step
    np.testing.assert_allclose(found[:, -1], columns[:, end - per_step : end].mean(axis=1), rtol=1e-6)


@pytest.mark.parametrize("length", [1, 2, 15, 16, 17])
def test_short_clips_are_repeated_to_the_least_length(rng, length):
    given = random_columns(rng, length)
    found = at_least(given, steps=16)
    assert found.shape == (84, max(16, length))
    for step in range(length, found.shape[1]):
        np.testing.assert_array_equal(found[:, step], found[:, step - length])


def test_a_rest_is_used_when_it_is_all_there_is(rng):
    columns = random_columns(rng, 3)
    found = to_steps(columns, settings=NetworkSettings(columns_per_step=5))
    np.testing.assert_allclose(found[:, 0], columns.mean(axis=1), rtol=1e-6)


# --- peaks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("gain", [0.0, 0.25, 1.0])
def test_sharpening_by_loops(rng, gain):
    columns = random_columns(rng, 9)
    columns[30:33] = 0.5  # a flat top is no slope
    found = sharpen(columns, gain=gain)
    for column in range(9):
        for index in range(84):
            neighbours = [columns[i, column] for i in (index - 1, index + 1) if 0 <= i < 84]
            beside = columns[index, column] < max(neighbours)
            expected = columns[index, column] * np.float32(gain if beside else 1.0)
            assert found[index, column] == expected


def test_noise_between_partials_is_turned_down_and_the_partials_are_kept():
    columns = np.full((84, 8), 0.01, np.float32)
    columns[[30, 42, 49]] = 1.0
    columns[[29, 31, 41, 43, 48, 50]] = 0.3
    found = sharpen(columns, gain=0.25)
    np.testing.assert_array_equal(found[[30, 42, 49]], 1.0)
    np.testing.assert_allclose(found[[29, 31, 41, 43, 48, 50]], 0.075)


# --- CQT view -----------------------------------------------------------------------------------


def test_level_compression_by_loops(rng):
    columns = random_columns(rng, 40)
    found = cqt_view(columns, settings=SETTINGS)
    steps = sharpen(columns, gain=0.25).reshape(84, 20, 2).mean(axis=2)
    reference = np.sqrt(sum(max(map(float, step)) ** 2 for step in steps.T) / 20)
    for row, step in rng.integers(0, (84, 20), (50, 2)):
        expected = np.log(1 + 100 * float(steps[row, step]) / reference) / np.log(101)
        assert found[row, step] == pytest.approx(expected, rel=1e-5)


def test_reference_level_is_one_and_silence_zero():
    columns = np.zeros((84, 32), np.float32)
    columns[40] = 0.3
    found = cqt_view(columns, settings=SETTINGS)
    np.testing.assert_allclose(found[40], 1.0, rtol=1e-6)
    assert not np.delete(found, 40, axis=0).any()


def test_forty_decibels_below_the_reference_fade():
    columns = np.full((84, 32), 0.01, np.float32)
    columns[40] = 1.0
    found = cqt_view(columns, settings=SETTINGS)
    assert found[0, 0] == pytest.approx(np.log(2) / np.log(101), rel=1e-5)
    assert found[39, 0] == pytest.approx(np.log(1.25) / np.log(101), rel=1e-5)  # beside a peak


@pytest.mark.parametrize("view", [cqt_view, chroma_view])
@pytest.mark.parametrize("gain", [1e-2, 0.37, 8.0, 1e3])
def test_a_clips_gain_does_not_matter(rng, view, gain):
    columns = random_columns(rng, 60)
    louder = view(columns * np.float32(gain), settings=SETTINGS)
    np.testing.assert_allclose(louder, view(columns, settings=SETTINGS), rtol=1e-5)


def test_without_turning_down_the_order_of_levels_is_kept(rng):
    columns = random_columns(rng, 20)
    found = cqt_view(columns, settings=NetworkSettings(columns_per_step=1, beside_peaks=1.0))
    assert (np.diff(found.ravel()[np.argsort(columns.ravel())]) >= 0).all()


# --- chroma view --------------------------------------------------------------------------------


@pytest.mark.parametrize(("midi", "row"), [(60, 0), (61, 1), (69, 9), (24, 0), (107, 11)])
def test_row_zero_is_c(midi, row):
    frequency = 440 * 2 ** ((midi - 69) / 12)
    tone = np.sin(2 * np.pi * frequency * np.arange(4 * 22_050) / 22_050)
    columns = cqt.columns(tone.astype(np.float32), settings=FrontEndSettings())
    profile = fold(columns[:, 2:6])
    assert (profile.argmax(axis=0) == row).all()
    assert (profile[row] == 1).all()
    assert (np.delete(profile, [row - 1, row, (row + 1) % 12], axis=0) < 5e-3).all()


def test_fold_by_loops(rng):
    columns = random_columns(rng, 7)
    found = fold(columns)
    for column in range(7):
        level = [0.0, *map(float, columns[:, column]), 0.0]
        profile = np.zeros(12)
        for index in range(84):
            if level[index + 1] >= max(level[index], level[index + 2]):
                profile[index % 12] += level[index + 1]
        np.testing.assert_allclose(found[:, column], profile / profile.max(), rtol=1e-6)


def test_chroma_view_averages_profiles_not_levels(rng):
    quiet, loud = np.zeros((2, 84, 16), np.float32)
    quiet[48], loud[53] = 0.01, 1.0
    columns = np.stack([quiet, loud], axis=2).reshape(84, 32)
    view = chroma_view(columns, settings=SETTINGS)
    assert view.shape == (36, 16)
    np.testing.assert_allclose(view[[48 % 12, 53 % 12]], 1.0, rtol=1e-2)


def test_octaves_are_alike(rng):
    low = np.zeros((84, 5), np.float32)
    low[1:11] = random_columns(rng, 5)[1:11]
    np.testing.assert_array_equal(fold(low), fold(np.roll(low, 36, axis=0)))


def test_transposition_rotates_the_profile(rng):
    columns = np.zeros((84, 5), np.float32)
    columns[5:70] = random_columns(rng, 5)[5:70]
    moved = fold(np.roll(columns, 5, axis=0))
    np.testing.assert_allclose(moved, np.roll(fold(columns), 5, axis=0), rtol=1e-6)


def test_tile_lays_the_profile_over_itself(rng):
    profile = rng.random((12, 9)).astype(np.float32)
    found = tile(profile, octaves=5)
    assert found.shape == (60, 9)
    for octave in range(5):
        np.testing.assert_array_equal(found[12 * octave : 12 * octave + 12], profile)


def test_a_profile_is_laid_over_itself(rng):
    profile = rng.random((12, 40)).astype(np.float32)
    view = profile_view(profile, settings=SETTINGS)
    np.testing.assert_array_equal(view, np.concatenate([profile] * SETTINGS.chroma_octaves))


# --- silence and windows ------------------------------------------------------------------------


def test_silence_at_both_ends_and_long_silence_inside_is_left_out(rng):
    columns = random_columns(rng, 40) + np.float32(0.1)
    columns[:, [0, 1, 2, 38, 39]] = 0  # both ends, however short
    columns[:, 10:15] *= 1e-5  # a long rest
    columns[:, 20:24] *= 1e-5  # as long as a rest may be
    kept = [*range(3, 10), *range(15, 38)]
    np.testing.assert_array_equal(without_silence(columns, settings=SETTINGS), columns[:, kept])


@pytest.mark.parametrize("level", [0.0, 1e-30, 1.0])
def test_what_is_all_silent_or_all_sounding_stays(level):
    columns = np.full((84, 9), level, np.float32)
    np.testing.assert_array_equal(without_silence(columns, settings=SETTINGS), columns)


def test_music_among_hours_of_silence_is_found():
    columns = np.zeros((84, 50_000), np.float32)
    columns[30, 20_000:20_100] = 0.1
    assert without_silence(columns, settings=SETTINGS).shape == (84, 100)


@pytest.mark.parametrize(
    ("length", "starts"), [(10, [0]), (16, [0]), (17, [0, 1]), (32, [0, 8, 16]), (35, [0, 8, 16, 19])]
)
def test_windows_reach_from_the_start_to_the_end(rng, length, starts):
    view = random_columns(rng, length)
    found = windows(view, steps=16, hop=8)
    assert len(found) == len(starts)
    for window, start in zip(found, starts, strict=True):
        np.testing.assert_array_equal(window, view[:, start : start + 16])


# --- limits -------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0.0, 1e-38, 1e-7])
def test_silence_stays_silent(level):
    columns = np.full((84, 32), level, np.float32)
    assert cqt_view(columns, settings=SETTINGS).max() < 0.2
    assert not chroma_view(columns, settings=SETTINGS).any()


@pytest.mark.parametrize("view", [cqt_view, chroma_view])
@pytest.mark.parametrize("level", [1e-4, 1.0, 1e15, 1e38])
def test_any_level_gives_zero_to_about_one(view, level):
    columns = np.full((84, 32), level, np.float32)
    np.testing.assert_allclose(view(columns, settings=SETTINGS), 1.0, rtol=1e-5)


def test_nothing_given_is_changed(rng):
    columns = random_columns(rng, 40)
    before = columns.copy()
    to_steps(columns, settings=NetworkSettings(columns_per_step=1))
    sharpen(columns, gain=0.5)
    cqt_view(columns, settings=SETTINGS)
    chroma_view(columns, settings=SETTINGS)
    np.testing.assert_array_equal(columns, before)
