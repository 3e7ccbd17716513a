"""Silence added at the ends of a recording changes none of its columns."""

import numpy as np
import pytest

from mirex.features.cqt import columns
from mirex.features.trimming import BlockTrimmer, loudness_limit, trimmed, with_silence
from mirex.settings import FrontEndSettings
from synthesis import song

SETTINGS = FrontEndSettings()
COLUMN = SETTINGS.hop * SETTINGS.frames_per_column


def noise(rng, samples):
    """As a converter leaves it: far below what is heard."""
    return rng.uniform(-1e-5, 1e-5, samples).astype(np.float32)


@pytest.mark.parametrize(("front", "behind"), [(123_456, 0), (0, 234_567), (50_000, 60_001)])
def test_silence_at_the_ends_leaves_the_columns_as_they_were(rng, front, behind):
    music = song(1, seconds=6)
    padded = np.concatenate([noise(rng, front), music, noise(rng, behind)])
    found = trimmed(padded, settings=SETTINGS)
    assert len(music) - COLUMN < len(found) <= len(music)
    expected, given = columns(music), columns(found)
    assert given.shape == expected.shape
    np.testing.assert_allclose(given, expected, atol=0.02 * expected.max())


@pytest.mark.parametrize("cut", [50_000, 51_200, 60_001])
def test_long_silence_inside_is_cut_out(rng, cut):
    music = song(1, seconds=6)
    padded = np.concatenate([music[:cut], noise(rng, 6 * COLUMN + 77), music[cut:]])
    assert len(trimmed(padded, settings=SETTINGS)) == pytest.approx(len(music), abs=100)


def test_what_is_not_long_stays(rng):
    music = song(1, seconds=3)
    rest = np.concatenate([music, noise(rng, 4 * COLUMN), music])
    padded = np.concatenate([noise(rng, COLUMN // 2), rest, noise(rng, COLUMN // 2)])
    assert trimmed(padded, settings=SETTINGS) is padded


@pytest.mark.parametrize("trial", range(20))
def test_against_a_loop_over_samples(rng, trial):
    lengths = rng.integers(1, 8 * COLUMN, 9)
    parts = [
        rng.uniform(0.1, 1, n) if i % 2 == trial % 2 else np.zeros(n) for i, n in enumerate(lengths.tolist())
    ]
    signal = np.concatenate(parts).astype(np.float32)
    most = [COLUMN if i in (0, len(parts) - 1) else 5 * COLUMN for i in range(len(parts))]
    expected = [part for part, limit in zip(parts, most, strict=True) if part.any() or len(part) <= limit]
    found = trimmed(signal, settings=SETTINGS)
    assert np.array_equal(found, np.concatenate(expected).astype(np.float32))
    for size in (1000, 3 * COLUMN + 1, len(signal)):
        check_in_blocks(signal, [signal[start : start + size] for start in range(0, len(signal), size)])


def check_in_blocks(signal, blocks):
    """What stays is what `trimmed` leaves; what was left out is told, so that times can be found again."""
    trimmer = BlockTrimmer(limit=loudness_limit(blocks, settings=SETTINGS), settings=SETTINGS)
    found = np.concatenate([*trimmer.trimmed(blocks), np.empty(0, np.float32)])
    assert np.array_equal(found, trimmed(signal, settings=SETTINGS))
    silences = np.array(trimmer.silences, float).reshape(-1, 2)
    places = with_silence(np.arange(float(len(found))), silences).astype(int)
    assert np.array_equal(signal[places], found)


def test_the_limit_does_not_depend_on_blocks(rng):
    signal = rng.uniform(-1, 1, 50_000).astype(np.float32)
    limits = [
        loudness_limit(np.split(signal, range(size, 50_000, size)), settings=SETTINGS)
        for size in (100, 5000, 50_000)
    ]
    assert np.ptp(limits) < 1e-9


@pytest.mark.parametrize("samples", [1, 100, 50_000])
def test_silence_alone_stays(samples):
    assert len(trimmed(np.zeros(samples, np.float32), settings=SETTINGS)) == samples


def test_a_click_does_not_make_music_silent(rng):
    quiet = 0.002 * song(1, seconds=3)
    quiet[40_000] = 1.0
    assert len(trimmed(quiet, settings=SETTINGS)) == len(quiet)
