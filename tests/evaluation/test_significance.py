"""Bootstrap intervals and permutation tests: exact cases, coverage, seeds, ill-formed input."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mirex.errors import EvaluationError
from mirex.evaluation.significance import bootstrap_intervals, median_interval, permutation_p_values


def seeded(seed=1):
    return np.random.default_rng(seed)


def test_interval_of_a_constant_is_the_constant():
    bounds = bootstrap_intervals(np.full((30, 2), 0.25), generator=seeded())
    np.testing.assert_allclose(bounds, 0.25)


def test_interval_has_the_width_of_theory(rng):
    values = rng.normal(size=(2000, 1))
    low, high = bootstrap_intervals(values, generator=seeded())[0]
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 / np.sqrt(2000), rel=0.1)


def test_groups_widen_the_interval_of_dependent_queries(rng):
    groups = np.repeat(np.arange(40), 10)
    values = rng.normal(size=40)[groups][:, None]
    by_query = bootstrap_intervals(values, generator=seeded())[0]
    by_group = bootstrap_intervals(values, generator=seeded(), groups=groups)[0]
    ratio = np.ptp(by_group) / np.ptp(by_query)
    assert ratio == pytest.approx(np.sqrt(10), rel=0.15)


def test_groups_of_one_are_queries(rng):
    values = rng.random((50, 3))
    plain = bootstrap_intervals(values, generator=seeded())
    grouped = bootstrap_intervals(values, generator=seeded(), groups=np.arange(50))
    np.testing.assert_array_equal(plain, grouped)


def test_groups_of_unequal_size_weigh_queries_equally():
    # One group of 3 ones and one of a single zero: the possible means are 1, 3/4 and 0.
    values, groups = np.array([[1.0], [1.0], [1.0], [0.0]]), np.array([7, 7, 7, 9])
    bounds = bootstrap_intervals(values, generator=seeded(), groups=groups, level=0.4)
    assert bounds.tolist() == [[0.75, 0.75]]


def test_one_seed_one_result(rng):
    values = rng.random((40, 2))
    assert np.array_equal(
        bootstrap_intervals(values, generator=seeded(5)), bootstrap_intervals(values, generator=seeded(5))
    )
    drawn = [permutation_p_values(values - 0.4, generator=seeded(5)) for _ in range(2)]
    assert np.array_equal(drawn[0], drawn[1])


def test_chunks_do_not_change_the_result(rng, monkeypatch):
    values = rng.random((40, 2)) - 0.4
    whole = bootstrap_intervals(values, generator=seeded()), permutation_p_values(values, generator=seeded())
    monkeypatch.setattr("mirex.evaluation.significance.CHUNK", 1)
    parts = bootstrap_intervals(values, generator=seeded()), permutation_p_values(values, generator=seeded())
    np.testing.assert_allclose(parts[0], whole[0])
    np.testing.assert_allclose(parts[1], whole[1], atol=0.02)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=8))
def test_exact_test_against_all_sign_patterns(differences):
    observed = abs(sum(differences))
    patterns = list(itertools.product((1, -1), repeat=len(differences)))
    far = sum(abs(sum(s * d for s, d in zip(p, differences, strict=True))) >= observed for p in patterns)
    values = np.array(differences, dtype=float)[:, None] / 10
    assert permutation_p_values(values, generator=seeded())[0] == pytest.approx(far / len(patterns))


def test_drawn_patterns_agree_with_the_exact_ones(rng):
    values = rng.normal(loc=0.3, size=(12, 1))
    exact = permutation_p_values(values, generator=seeded(), permutations=4096)[0]
    drawn = permutation_p_values(values, generator=seeded(), permutations=4095)[0]
    assert drawn == pytest.approx(exact, abs=0.03)


def test_no_difference_is_no_evidence_and_p_is_never_zero():
    assert permutation_p_values(np.zeros((40, 1)), generator=seeded()).tolist() == [1.0]
    assert permutation_p_values(np.ones((40, 1)), generator=seeded(), permutations=99).tolist() == [0.01]


def test_groups_change_sign_together():
    values, groups = np.ones((40, 1)), np.repeat([0, 1], 20)
    assert permutation_p_values(values, generator=seeded(), groups=groups).tolist() == [0.5]


def test_p_values_are_uniform_without_an_effect(rng):
    values = rng.normal(size=(20, 400))
    p = permutation_p_values(values, generator=seeded(), permutations=999)
    assert np.mean(p < 0.05) == pytest.approx(0.05, abs=0.03)
    assert np.mean(p) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("values", "options"),
    [
        (np.zeros((0, 1)), {}),
        (np.zeros(3), {}),
        (np.zeros((3, 1)), {"groups": np.zeros(2)}),
        (np.zeros((3, 1)), {"level": 1.0}),
        (np.zeros((3, 1)), {"resamples": 0}),
    ],
)
def test_ill_formed(values, options):
    with pytest.raises(EvaluationError):
        bootstrap_intervals(values, generator=seeded(), **options)


def test_ill_formed_permutations():
    with pytest.raises(EvaluationError):
        permutation_p_values(np.zeros((3, 1)), generator=seeded(), permutations=0)


def test_bca_of_the_mean_against_scipy(rng):
    values = rng.exponential(size=60)
    expected = stats.bootstrap((values,), np.mean, n_resamples=2000, method="BCa", rng=seeded())
    found = bootstrap_intervals(values[:, None], generator=seeded(), method="bca")[0]
    np.testing.assert_allclose(found, expected.confidence_interval, rtol=1e-9)


def test_bca_without_any_spread_is_the_value():
    bounds = bootstrap_intervals(np.full((30, 2), 0.25), generator=seeded(), method="bca")
    np.testing.assert_allclose(bounds, 0.25)


def test_one_group_has_no_spread():
    values = np.array([[1.0], [2.0]])
    for method in ("percentile", "bca"):
        found = bootstrap_intervals(values, generator=seeded(), groups=np.zeros(2), method=method)
        assert found.tolist() == [[1.5, 1.5]]


def test_median_interval_against_scipy(rng):
    values = rng.integers(1, 30, 41).astype(float)
    expected = stats.bootstrap((values,), np.median, method="percentile", n_resamples=2000, rng=seeded())
    found = median_interval(values, generator=seeded())
    np.testing.assert_allclose(found, expected.confidence_interval)


def test_median_interval_draws_whole_groups(rng):
    groups = np.repeat(np.arange(20), 10)
    values = rng.normal(size=20)
    by_group = median_interval(values[groups], generator=seeded(), groups=groups)
    np.testing.assert_array_equal(by_group, median_interval(values, generator=seeded()))


def test_unknown_interval():
    with pytest.raises(EvaluationError, match="percentile"):
        bootstrap_intervals(np.zeros((3, 1)), generator=seeded(), method="studentized")  # type: ignore[arg-type]
