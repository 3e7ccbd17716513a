"""Calibration: the fit recovers known models, priors move, sealed JSON survives and is checked."""

import json

import numpy as np
import pytest

from mirex.errors import EvaluationError, UsageError, WeightsError
from mirex.retrieval.calibration import METADATA_KEY, Calibration, fit, from_metadata, reliability

MODEL = Calibration(a=-12.0, b=6.0, set="held-out pairs", pairs=1000, prior=0.25)


def draw(rng, *, count=200_000, a=-12.0, b=6.0):
    distances = rng.uniform(0, 1.5, count)
    same = rng.random(count) < 1 / (1 + np.exp(-(a * distances + b)))
    return distances, same


def test_fit_recovers_a_known_model(rng):
    distances, same = draw(rng)
    found = fit(distances, same, set="drawn")
    assert found.a == pytest.approx(-12, rel=0.03)
    assert found.b == pytest.approx(6, rel=0.03)
    assert (found.set, found.pairs) == ("drawn", len(same))
    assert found.prior == pytest.approx(same.mean())


def test_fitted_probabilities_are_calibrated_on_fresh_pairs(rng):
    model = fit(*draw(rng), set="drawn")
    distances, same = draw(rng)
    table = reliability(model.probability(distances), same)
    np.testing.assert_allclose(table[:, 0], table[:, 1], atol=0.02)
    assert table[:, 2].sum() == len(same)


def test_prior_moves_a_fit_of_balanced_pairs_to_rare_ones(rng):
    distances, same = draw(rng)
    kept = ~same | (rng.random(len(same)) < 0.1)
    model = fit(distances[kept], same[kept], set="nine tenths of the same-work pairs dropped")
    table = reliability(model.probability(distances, prior=float(same.mean())), same)
    np.testing.assert_allclose(table[:, 0], table[:, 1], atol=0.04)


def test_separable_pairs_have_a_finite_fit():
    model = fit(np.array([0.1, 0.2, 0.8, 0.9]), np.array([True, True, False, False]), set="s")
    assert np.isfinite([model.a, model.b]).all()
    assert model.probability(0.5) == pytest.approx(0.5, abs=0.01)


def test_probability_falls_with_distance_and_never_overflows():
    probabilities = MODEL.probability(np.array([0.0, 0.3, 0.5, 2.0, 1e6]))
    assert (np.diff(probabilities) <= 0).all()
    assert probabilities[-1] == 0.0


def test_threshold_inverts_probability():
    for prior in (None, 0.01):
        distance = MODEL.threshold(0.8, prior=prior)
        assert MODEL.probability(distance, prior=prior) == pytest.approx(0.8)


def test_own_prior_changes_nothing():
    assert MODEL.probability(0.4, prior=0.25) == pytest.approx(MODEL.probability(0.4))


@pytest.mark.parametrize("prior", [0.0, 1.0, -0.1, float("nan")])
def test_impossible_prior(prior):
    with pytest.raises(UsageError, match="prior"):
        MODEL.probability(0.4, prior=prior)


@pytest.mark.parametrize(
    ("distances", "same", "message"),
    [
        ([], [], "both kinds"),
        ([0.1, 0.2], [True, True], "both kinds"),
        ([0.1, 0.2], [False, False], "both kinds"),
        ([0.1, 0.2], [True], "distances"),
        ([0.1, np.nan], [True, False], "finite"),
        ([0.1, 0.9], [False, True], "not less probable"),
    ],
)
def test_ill_formed_pairs(distances, same, message):
    with pytest.raises(EvaluationError, match=message):
        fit(np.array(distances), np.array(same, dtype=bool), set="s")


def test_sealed_and_read_back():
    assert from_metadata({METADATA_KEY: MODEL.to_json()}) == MODEL


@pytest.mark.parametrize("metadata", [{}, {METADATA_KEY: ""}, {METADATA_KEY: "null"}])
def test_no_calibration_sealed(metadata):
    assert from_metadata(metadata) is None


@pytest.mark.parametrize(
    "change",
    [
        {"model": "forest"},
        {"a": 3.0},
        {"a": "x"},
        {"b": float("inf")},
        {"prior": 0},
        {"prior": 1.0},
        {"set": None},
    ],
)
def test_damaged_calibration(change):
    values = json.loads(MODEL.to_json()) | change
    if change == {"set": None}:
        del values["set"]
    with pytest.raises(WeightsError, match="calibration"):
        from_metadata({METADATA_KEY: json.dumps(values)})


@pytest.mark.parametrize("text", ["{", "[]", "3"])
def test_calibration_that_is_no_object(text):
    with pytest.raises(WeightsError, match="calibration"):
        from_metadata({METADATA_KEY: text})
