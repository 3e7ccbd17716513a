"""Silence added at the ends of a recording changes none of its columns."""

import numpy as np
import pytest

from mirex.features.cqt import columns
from mirex.features.trimming import trimmed
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


@pytest.mark.parametrize("samples", [1, 100, 50_000])
def test_silence_alone_stays(samples):
    assert len(trimmed(np.zeros(samples, np.float32), settings=SETTINGS)) == samples


def test_a_click_does_not_make_music_silent(rng):
    quiet = 0.002 * song(1, seconds=3)
    quiet[40_000] = 1.0
    assert len(trimmed(quiet, settings=SETTINGS)) == len(quiet)
