"""Spectrum stitching: lengths, order, levels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirex.training.augmentation.stitching import draw_lengths, stitch
from mirex.training.settings import StitchSettings


@settings(deadline=None, derandomize=True, max_examples=200)
@given(st.integers(1, 300), st.integers(2, 6), st.integers(1, 40), st.integers(0, 1000))
def test_lengths_fill_the_excerpt_with_parts_long_enough(total, segments, shortest, seed):
    wanted = StitchSettings(segments=segments, shortest=shortest)
    lengths = draw_lengths(total, settings=wanted, generator=np.random.default_rng(seed))
    assert sum(lengths) == total
    if total >= 2 * shortest:
        assert 2 <= len(lengths) <= segments
        assert min(lengths) >= shortest
    else:
        assert lengths == [total]


def test_every_number_of_segments_occurs():
    generator = np.random.default_rng(0)
    wanted = StitchSettings(segments=4, shortest=8)
    counts = {len(draw_lengths(100, settings=wanted, generator=generator)) for _ in range(100)}
    assert counts == {2, 3, 4}


def test_parts_follow_each_other_unchanged_without_level_matching(rng):
    parts = [rng.random((84, n), dtype=np.float32) for n in (5, 3)]
    joined = stitch(parts, match_level=False)
    assert np.array_equal(joined[:, :5], parts[0])
    assert np.array_equal(joined[:, 5:], parts[1])


def test_level_matching_meets_at_the_geometric_mean(rng):
    quiet = rng.random((84, 6), dtype=np.float32)
    joined = stitch([quiet, 100 * quiet], match_level=True)
    assert np.allclose(joined[:, :6], 10 * quiet, rtol=1e-5)
    assert np.allclose(joined[:, 6:], 10 * quiet, rtol=1e-5)


def test_silence_stays_silent_and_does_not_pull_the_others():
    loud = np.ones((84, 4), np.float32)
    joined = stitch([np.zeros((84, 2), np.float32), loud], match_level=True)
    assert np.array_equal(joined, np.concatenate([np.zeros((84, 2)), loud], axis=1))
    assert not stitch([np.zeros((84, 2), np.float32)], match_level=True).any()


def test_no_parts_is_an_error():
    with pytest.raises(ValueError, match="no parts"):
        stitch([], match_level=True)
