"""Calibration: the fit recovers known models, priors move, sealed JSON survives and is checked."""

import json

import numpy as np
import pytest

from mirex.errors import EvaluationError, UsageError, WeightsError
from mirex.evaluation.evaluate import evaluate
from mirex.formats.matrix import Matrix
from mirex.retrieval.calibration import (
    METADATA_KEY,
    Calibration,
    Pairs,
    fit,
    from_metadata,
    pairs_of_matrix,
    reliability,
)
from mirex.retrieval.distance import FAILED

MODEL = Calibration(knee=0.5, level=0.5, below=-12.0, above=-6.0, data="held-out pairs", pairs=1000)


def draw(rng, *, count=20_000, versions=0.5, name="drawn"):
    """Pairs whose likelihood ratio is the model's: `versions` of them are of one work."""
    distances = rng.uniform(0, 1.5, 4 * count)
    ratio = np.exp(np.clip(MODEL.log_ratio(distances), -30, 30))
    share = ratio / (1 + ratio)
    same = rng.random(len(distances)) < share
    kept = np.flatnonzero(rng.random(len(distances)) < np.where(same, versions, 1 - versions))
    return Pairs(distances[kept], same[kept], name)


def true_ratio(rng):
    """Versions as often as others, in all: what the drawn pairs' ratio is relative to."""
    pairs = draw(rng)
    return np.log((~pairs.same).sum() / pairs.same.sum())


@pytest.mark.parametrize("versions", [0.5, 0.02])
def test_fit_recovers_a_known_ratio_however_rare_versions_are(rng, versions):
    found = fit([draw(rng, versions=versions)])
    distances = np.linspace(0.1, 1.2, 12)
    expected = MODEL.log_ratio(distances) + true_ratio(rng)
    np.testing.assert_allclose(found.log_ratio(distances), expected, atol=0.35)


def test_probabilities_are_calibrated_on_fresh_pairs_of_another_prior(rng):
    model, fresh = fit([draw(rng)]), draw(rng, versions=0.1)
    prior = float(fresh.same.mean())
    table = reliability(model.probability(fresh.distances, prior=prior), fresh.same)
    np.testing.assert_allclose(table[:, 0], table[:, 1], atol=0.05)
    wrong = reliability(model.probability(fresh.distances), fresh.same)
    assert np.abs(wrong[:, 0] - wrong[:, 1]).max() > 0.2, "the prior matters"


def test_each_set_counts_the_same(rng):
    near, small = draw(rng, name="near"), draw(rng, count=2000)
    far = Pairs(small.distances + 0.5, small.same, "far")
    more = Pairs(np.tile(far.distances, 9), np.tile(far.same, 9), "far")
    both, twice = fit([near, far]), fit([near, more])
    assert both.data == "near, far"
    assert both.pairs == len(near.same) + len(far.same)
    places = np.array([0.3, 0.7])
    np.testing.assert_allclose(both.log_ratio(places), twice.log_ratio(places), atol=0.3)
    assert np.abs(both.log_ratio(places) - fit([near]).log_ratio(places)).max() > 1


def test_separable_pairs_have_a_finite_fit():
    model = fit([Pairs(np.array([0.1, 0.2, 0.8, 0.9]), np.array([True, True, False, False]), "s")])
    assert np.isfinite([model.level, model.below, model.above]).all()
    assert model.probability(0.1) > 0.6 > 0.4 > model.probability(0.9)


def test_probability_falls_with_distance_and_never_overflows():
    probabilities = MODEL.probability(np.array([0.0, 0.3, 0.5, 2.0, 1e6]))
    assert (np.diff(probabilities) <= 0).all()
    assert probabilities[-1] == 0.0


@pytest.mark.parametrize("probability", [0.99, 0.8, 0.2])
@pytest.mark.parametrize("prior", [0.5, 0.01])
def test_threshold_inverts_probability(probability, prior):
    distance = MODEL.threshold(probability, prior=prior)
    assert MODEL.probability(distance, prior=prior) == pytest.approx(probability)


def test_the_prior_is_said():
    assert "if 1 % of the pairs" in MODEL.describe(prior=0.01)
    assert "held-out pairs" in MODEL.describe()


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
        fit([Pairs(np.array(distances), np.array(same, dtype=bool), "s")])


def test_pairs_of_a_matrix_leave_a_query_with_itself_out(rng):
    names = [f"{number}.wav" for number in range(6)]
    distances = rng.uniform(0.2, 1, (6, 6)).astype(np.float32)
    np.fill_diagonal(distances, 0)
    matrix = Matrix("made", tuple(names), np.arange(6), distances)
    found = evaluate(matrix, cliques={name: str(number // 2) for number, name in enumerate(names)})
    pairs = pairs_of_matrix(matrix, found, name="m", generator=rng)
    assert len(pairs.distances) == 30
    assert pairs.same.sum() == 6
    assert pairs.distances.min() > 0
    few = pairs_of_matrix(matrix, found, name="m", generator=rng, most_others=4)
    assert few.same.sum() == 6
    assert len(few.distances) < 20


def test_a_recording_that_could_not_be_decoded_is_in_no_pair(rng):
    names = [f"{number}.wav" for number in range(6)]
    distances = rng.uniform(0.2, 1, (6, 6)).astype(np.float32)
    distances[5, :] = distances[:, 5] = FAILED
    np.fill_diagonal(distances, 0)
    matrix = Matrix("made", tuple(names), np.arange(6), distances)
    found = evaluate(matrix, cliques={name: str(number // 2) for number, name in enumerate(names)})
    pairs = pairs_of_matrix(matrix, found, name="m", generator=rng)
    assert len(pairs.distances) == 5 * 4
    assert pairs.same.sum() == 4
    assert pairs.distances.max() < FAILED


def test_sealed_and_read_back():
    assert from_metadata({METADATA_KEY: MODEL.to_json()}) == MODEL


@pytest.mark.parametrize("metadata", [{}, {METADATA_KEY: ""}, {METADATA_KEY: "null"}])
def test_no_calibration_sealed(metadata):
    assert from_metadata(metadata) is None


@pytest.mark.parametrize(
    "change",
    [
        {"model": "forest"},
        {"below": 3.0},
        {"above": "x"},
        {"level": float("inf")},
        {"above": 0},
        {"data": None},
        {"pairs": float("inf")},
    ],
)
def test_damaged_calibration(change):
    values = json.loads(MODEL.to_json()) | change
    if change == {"data": None}:
        del values["data"]
    with pytest.raises(WeightsError, match="calibration"):
        from_metadata({METADATA_KEY: json.dumps(values)})


@pytest.mark.parametrize("text", ["{", "[]", "3"])
def test_calibration_that_is_no_object(text):
    with pytest.raises(WeightsError, match="calibration"):
        from_metadata({METADATA_KEY: text})
