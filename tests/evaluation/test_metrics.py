"""Metrics three ways: ill-formed input, tiny cases by hand, brute force and trec_eval on random input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mirex.errors import EvaluationError
from mirex.evaluation import metrics

PROPERTY = settings(derandomize=True, deadline=None, max_examples=200)

# Names by position; queries A1 and B1. A: A1, A2, A3. B: B1, B2. C alone, D without a clique.
LABELS = np.array([0, 0, 1, 0, 1, 2, -1])
HAND = np.array(
    [
        # A1   A2   B1   A3   B2    C    D
        [0.0, 0.4, 0.1, 0.2, 0.5, 0.3, 0.6],
        [0.7, 0.6, 0.0, 0.5, 0.2, 0.3, 0.1],
    ]
)


def score_hand():
    return metrics.score(HAND, query_positions=np.array([0, 2]), labels=LABELS)


def test_by_hand():
    # A1 ranks B1, A3, C, A2, B2, D: covers at 2 and 4. B1 ranks D, B2, ...: its cover at 2.
    found = score_hand()
    np.testing.assert_array_equal(found.covers, [2, 1])
    np.testing.assert_array_equal(found.first_rank, [2, 2])
    np.testing.assert_allclose(found.average_precision, [(1 / 2 + 2 / 4) / 2, 1 / 2])
    assert found.correct_at_rank().tolist() == [0, 2, 0, 1, 0, 0, 0, 0, 0, 0]
    assert found.metrics() == {
        "tnci10": 3.0,
        "mnci10": 1.5,
        "map": 0.5,
        "mr1": 2.0,
        "precision_at_10": pytest.approx(0.15),
        "rank_1": 0.0,
        "rank_5": 1.0,
        "rank_10": 1.0,
        "median_rank": 2.0,
        "nar": pytest.approx(100 * ((1 + 3) / 2 + 1) / 2 / 5),
        "nar_unbiased": pytest.approx(100 * ((1 + 2) / 2 / 4 + 1 / 5) / 2),
    }


def test_mirex_2011():
    assert round(metrics.mean_covers_identified(442, queries=330), 2) == 1.34
    assert round(metrics.mean_covers_identified(625, queries=330), 2) == 1.89


def test_mirex_2011_from_a_matrix(rng):
    # 330 queries, 442 covers in the top 10 by construction: 112 queries with two, 218 with one.
    labels = np.repeat(np.arange(30), 11)
    distances = 1 + rng.random((330, 330))
    for query in range(330):
        covers = np.flatnonzero((labels == labels[query]) & (np.arange(330) != query))
        distances[query, covers] = 5
        distances[query, covers[: 2 if query < 112 else 1]] = 0.5
        distances[query, query] = 0
    found = metrics.score(distances, query_positions=np.arange(330), labels=labels)
    assert found.metrics()["tnci10"] == 442
    assert round(found.metrics()["mnci10"], 2) == 1.34


def test_ties_keep_list_order():
    distances = np.zeros((1, 5))
    ranking = metrics.rank_references(distances, query_positions=np.array([2]))
    assert ranking.tolist() == [[0, 1, 3, 4]]


def test_self_is_dropped_by_position_not_by_distance():
    # Nearer than the query to itself: a value below 0, which readers accept; and an exact copy.
    distances = np.array([[0.5, -1e-7, 0.0, 0.0]])
    ranking = metrics.rank_references(distances, query_positions=np.array([2]))
    assert ranking.tolist() == [[1, 3, 0]]


def test_infinite_distances_rank_last_in_list_order():
    distances = np.array([[np.inf, 0.0, np.inf, 3.0]])
    ranking = metrics.rank_references(distances, query_positions=np.array([1]))
    assert ranking.tolist() == [[3, 0, 2]]


@PROPERTY
@given(
    arrays(
        np.float32,
        st.tuples(st.integers(1, 6), st.integers(1, 40)),
        elements=st.sampled_from([-np.inf, -2.0, -1e-45, -0.0, 0.0, 1e-45, 0.3, 1.0, 3e38, np.inf])
        | st.floats(width=32, allow_nan=False),
    ),
    st.integers(0, 39),
)
def test_float32_is_ranked_as_by_a_stable_sort(distances, position):
    positions = np.full(len(distances), position % distances.shape[1])
    before = distances.copy()
    found = metrics.rank_references(distances, query_positions=positions)
    np.testing.assert_array_equal(
        found, metrics.rank_references(distances.astype(np.float64), query_positions=positions)
    )
    order = np.argsort(distances, axis=1, kind="stable")
    assert found.tolist() == [[i for i in row if i != positions[0]] for row in order.tolist()]
    np.testing.assert_array_equal(distances, before)


def test_precision_at_10_divides_by_10_in_a_small_collection():
    found = metrics.score(np.array([[0.0, 1.0]]), query_positions=np.array([0]), labels=np.array([0, 0]))
    assert found.metrics()["precision_at_10"] == pytest.approx(0.1)
    assert found.metrics()["map"] == 1.0


def test_covers_in_collection_knows_no_clique_of_the_unlabelled():
    labels = np.array([-1, -1, 4, 4, 4])
    assert metrics.covers_in_collection(np.array([0, 2]), labels=labels).tolist() == [0, 2]


def test_blocks_give_the_whole():
    parts = [
        metrics.score(HAND[[row]], query_positions=np.array([[0, 2][row]]), labels=LABELS) for row in (0, 1)
    ]
    joined = metrics.concatenate(parts)
    for name, values in score_hand().values().items():
        np.testing.assert_array_equal(joined.values()[name], values)


@pytest.mark.parametrize(
    ("distances", "positions", "labels", "message"),
    [
        (HAND[0], [0], LABELS, "shape"),
        (HAND, [0], LABELS, "shape"),
        (HAND, [0, 7], LABELS, "outside"),
        (HAND, [-1, 0], LABELS, "outside"),
        (HAND, [0, 2], LABELS[:3], "labels"),
        (HAND * np.nan, [0, 2], LABELS, "NaN"),
        (HAND, [0, 5], LABELS, "position 5"),
        (HAND, [0, 6], LABELS, "position 6"),
    ],
)
def test_ill_formed(distances, positions, labels, message):
    with pytest.raises(EvaluationError, match=message):
        metrics.score(distances, query_positions=np.array(positions), labels=labels)


def test_no_query():
    with pytest.raises(EvaluationError, match="nothing to evaluate"):
        metrics.concatenate([]).metrics()


@st.composite
def problems(draw):
    """A matrix with many ties, queries anywhere (also twice), labels with gaps; each query has a cover."""
    count = draw(st.integers(2, 25))
    labels = draw(arrays(np.int64, count, elements=st.integers(-1, 5)))
    sizes = {label: int((labels == label).sum()) for label in labels.tolist()}
    eligible = [i for i, label in enumerate(labels.tolist()) if label >= 0 and sizes[label] > 1]
    if not eligible:
        labels[:2], eligible = 0, [0, 1]
    positions = draw(st.lists(st.sampled_from(eligible), min_size=1, max_size=8))
    levels = draw(st.integers(1, 12))
    shape = (len(positions), count)
    distances = draw(arrays(np.int64, shape, elements=st.integers(0, levels))).astype(np.float32) / 8
    return distances, np.array(positions), labels


def brute_force(distances, position, labels):
    """One query by explicit loops: (covers found at rank 1..10, average precision, first rank)."""
    others = [i for i in range(len(labels)) if i != position]
    ranked = sorted(others, key=lambda i: (distances[i], i))
    relevant = [labels[i] == labels[position] for i in ranked]
    precisions = [sum(relevant[: k + 1]) / (k + 1) for k, hit in enumerate(relevant) if hit]
    top = [bool(hit) for hit in relevant[:10]]
    return top + [False] * (10 - len(top)), sum(precisions) / len(precisions), relevant.index(True) + 1


def average_ranks(distances, position, labels):
    """NAR of one query and its form without bias, by explicit loops, in per cent."""
    others = [i for i in range(len(labels)) if i != position]
    ranked = sorted(others, key=lambda i: (distances[i], i))
    relevant = [labels[i] == labels[position] for i in ranked]
    ranks = [k for k, hit in enumerate(relevant) if hit]
    before = [relevant[:k].count(False) for k in ranks]
    biased = sum(ranks) / len(ranks) / max(len(others) - 1, 1)
    unbiased = sum(before) / len(ranks) / max(relevant.count(False), 1)
    return 100 * biased, 100 * unbiased


@PROPERTY
@given(problems())
def test_average_ranks_against_brute_force(problem):
    distances, positions, labels = problem
    found = metrics.score(distances, query_positions=positions, labels=labels)
    expected = [average_ranks(row, p, labels) for row, p in zip(distances, positions, strict=True)]
    np.testing.assert_allclose(np.column_stack([found.average_rank, found.others_before]), expected)
    means = found.metrics()
    assert means["nar"] == pytest.approx(np.mean([biased for biased, _ in expected]))
    assert means["nar_unbiased"] == pytest.approx(np.mean([unbiased for _, unbiased in expected]))
    assert means["median_rank"] == np.median(found.first_rank)


def test_average_ranks_by_hand():
    # Of five references, covers come second and third: (1 + 2) / 2 of 4, and 1 of the 3 others before both.
    distances = np.array([[0.0, 0.2, 0.3, 0.1, 0.8, 0.9]])
    found = metrics.score(distances, query_positions=np.array([0]), labels=np.array([1, 1, 1, 2, 3, 4]))
    assert found.average_rank.tolist() == [37.5]
    assert found.others_before == pytest.approx(100 / 3)
    first = metrics.score(
        np.array([[0.0, 0.1, 0.2, 0.3]]), query_positions=np.array([0]), labels=np.array([1, 1, 1, 2])
    )
    assert first.others_before.tolist() == [0.0]
    assert first.average_rank.tolist() == [25.0]


def test_a_query_is_no_cover_of_itself():
    """Were the pair of a query with itself kept, rank 1 would be the query at distance 0."""
    distances = np.array([[0.0, 0.5, 0.1], [0.5, 0.0, 0.1]])
    found = metrics.score(distances, query_positions=np.array([0, 1]), labels=np.array([1, 1, 2]))
    assert found.first_rank.tolist() == [2, 2]
    assert found.covers.tolist() == [1, 1]


@PROPERTY
@given(problems())
def test_against_brute_force(problem):
    distances, positions, labels = problem
    found = metrics.score(distances, query_positions=positions, labels=labels)
    for row, position in enumerate(positions):
        top, precision, first = brute_force(distances[row], position, labels)
        assert found.hits[row].tolist() == top
        assert found.average_precision[row] == pytest.approx(precision)
        assert found.first_rank[row] == first
    assert found.correct_at_rank().sum() == found.metrics()["tnci10"]


@PROPERTY
@given(problems())
def test_against_trec_eval(problem):
    pytrec_eval = pytest.importorskip("pytrec_eval")
    distances, positions, labels = problem
    found = metrics.score(distances, query_positions=positions, labels=labels)
    # trec_eval breaks ties by descending document name: number the names against the list's order.
    names = [f"{len(labels) - i:04d}" for i in range(len(labels))]
    judged, runs = {}, {}
    for row, position in enumerate(positions):
        others = [i for i in range(len(labels)) if i != position]
        judged[str(row)] = {names[i]: int(labels[i] == labels[position]) for i in others}
        runs[str(row)] = {names[i]: -float(distances[row, i]) for i in others}
    measures = {"map", "P_10", "recip_rank", "success_1,5,10"}
    theirs = pytrec_eval.RelevanceEvaluator(judged, measures).evaluate(runs)
    ours = found.values()
    for row in range(len(positions)):
        result = theirs[str(row)]
        assert ours["map"][row] == pytest.approx(result["map"])
        assert ours["precision_at_10"][row] == pytest.approx(result["P_10"])
        assert 1 / ours["mr1"][row] == pytest.approx(result["recip_rank"])
        assert [ours[f"rank_{k}"][row] for k in (1, 5, 10)] == [result[f"success_{k}"] for k in (1, 5, 10)]


@PROPERTY
@given(problems())
def test_monotone_change_of_distances_changes_nothing(problem):
    distances, positions, labels = problem
    before = metrics.score(distances, query_positions=positions, labels=labels).metrics()
    after = metrics.score(3 * distances**2 + 1, query_positions=positions, labels=labels).metrics()
    assert before == after
