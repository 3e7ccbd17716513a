"""Augmentation of magnitudes: detuning, recolouring, masks."""

import numpy as np

from mirex.features.playing import transpose
from mirex.training.augmentation import recolour


def test_detuning_by_a_whole_bin_is_transposition_and_power_is_kept(rng):
    steps = np.zeros((84, 3), np.float32)
    steps[30] = 2.0
    assert np.allclose(recolour.detune(steps, bins=1.0), transpose(steps, semitones=1))
    half = recolour.detune(steps, bins=-0.5)
    assert np.allclose((half**2).sum(axis=0), 4.0)
    assert half[29, 0] == half[30, 0] > 0


def test_blur_gives_each_neighbour_its_share_of_the_power():
    steps = np.zeros((84, 3), np.float32)
    steps[30] = 2.0
    spread = recolour.blur(steps, share=0.1) ** 2
    assert np.allclose(spread[28:33, 0], [0, 0.4, 3.2, 0.4, 0])
    assert np.allclose(recolour.blur(steps, share=0.0), steps)


def test_tempo_key_and_tuning_reach_their_full_range_at_half_strength(rng):
    assert [recolour.invariance(s) for s in (0.0, 0.25, 0.5, 1.0)] == [0.0, 0.5, 1.0, 1.0]
    for strength, most in ((0.0, 0.0), (0.25, 0.25), (0.5, 0.5), (1.0, 0.5)):
        tunings = [recolour.draw_tuning(strength=strength, generator=rng) for _ in range(300)]
        assert 0.9 * most <= max(tunings) <= most
        assert -most <= min(tunings) <= -0.9 * most


def test_strength_zero_changes_nothing(rng):
    steps = rng.random((84, 20), dtype=np.float32)
    assert np.allclose(recolour.recolour(steps, strength=0.0, generator=rng), steps, rtol=1e-6)
    assert np.array_equal(recolour.mask(steps, strength=0.0, generator=rng), steps)
    profile = steps[:12] / steps[:12].max(axis=0)
    assert np.allclose(recolour.recolour_profile(profile, strength=0.0, generator=rng), profile)


def test_recolouring_is_finite_positive_and_seeded():
    steps = np.random.default_rng(0).random((84, 40), dtype=np.float32)
    first, second = (
        recolour.recolour(steps, strength=1.0, generator=np.random.default_rng(5)) for _ in range(2)
    )
    assert np.array_equal(first, second)
    assert np.isfinite(first).all()
    assert (first >= 0).all()
    assert not np.allclose(first, steps)


def test_a_recoloured_profile_is_one_still():
    profile = np.random.default_rng(0).random((12, 40), dtype=np.float32)
    profile /= profile.max(axis=0)
    profile[:, 20:30] = 0
    first, second = (
        recolour.recolour_profile(profile, strength=1.0, generator=np.random.default_rng(5)) for _ in range(2)
    )
    assert np.array_equal(first, second)
    assert np.array_equal(first.max(axis=0)[[0, 10, 35]], np.ones(3))
    assert (first >= 0).all()
    assert not first[:, 21:29].any(), "silence stays silent, but for what its neighbours smear into it"
    assert np.abs(first - profile).mean() > 0.01


def test_masks_are_one_band_and_one_stretch_at_most():
    view = np.ones((84, 60), np.float32)
    widths = []
    for seed in range(60):
        masked = recolour.mask(view, strength=1.0, generator=np.random.default_rng(seed))
        bands = int((masked == 0).all(axis=1).sum())
        stretches = int((masked == 0).all(axis=0).sum())
        assert bands <= 24
        assert stretches <= 6
        widths.append((bands > 0, stretches > 0))
    assert len(set(widths)) == 4
    assert (view == 1).all()


def test_a_profile_may_lose_its_floor_or_gain_one(rng):
    profile = np.full((12, 200), 0.1, np.float32)
    profile[np.arange(200) % 12, np.arange(200)] = 1.0
    drawn = [recolour.recolour_profile(profile, strength=1.0, generator=rng) for _ in range(100)]
    # Contrast and unevenness leave no class silent; only a floor taken out does.
    assert 20 < sum(bool((each == 0).any()) for each in drawn) < 60
    assert 20 < sum(bool(np.median(each) > 0.15) for each in drawn) < 80
