"""Unrelated pairs and k-occurrence: by hand, against brute force, in blocks, with hubs that are planted."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import skew

from mirex.evaluation import hubness as module
from mirex.evaluation.hubness import hubness, hubness_facts, hubness_json
from mirex.formats.matrix import Matrix


def matrix(distances, positions=None):
    distances = np.array(distances, np.float32)
    names = tuple("abcdefghijklmnopqrstuvwxyz"[: distances.shape[1]])
    return Matrix("made", names, np.arange(len(distances)) if positions is None else positions, distances)


def test_by_hand():
    # a and b are versions; c is near to both, d to none
    found = hubness(
        matrix([[0, 0.1, 0.15, 0.9], [0.1, 0, 0.25, 0.8], [0.15, 0.25, 0, 0.7], [0.9, 0.8, 0.7, 0]]),
        labels=np.array([0, 0, 1, 2]),
        neighbours=1,
    )
    assert found.pairs == 10
    assert found.nearer == {0.2: 2, 0.3: 4, 0.45: 4}
    assert found.share(0.2) == pytest.approx(0.2)
    # nearest of a: b, of b: a, of c: a, of d: c
    assert found.hubs == [("a", 2), ("b", 1), ("c", 1)]
    assert found.skewness == pytest.approx(skew([2, 1, 1, 0]))


def test_versions_and_the_query_itself_are_no_unrelated_pairs():
    found = hubness(matrix([[0, 0.1], [0.1, 0]]), labels=np.array([5, 5]))
    assert (found.pairs, found.nearer[0.2], found.share(0.2)) == (0, 0, 0.0)


def test_recordings_without_a_clique_are_unrelated_to_each_other():
    found = hubness(matrix([[0, 0.1], [0.1, 0]]), labels=np.array([-1, -1]))
    assert (found.pairs, found.nearer[0.2]) == (2, 2)


def test_a_hub_is_named_and_skews():
    rng = np.random.default_rng(0)
    distances = rng.uniform(0.6, 1, (26, 26)).astype(np.float32)
    even = hubness(matrix(distances), labels=np.arange(26), neighbours=3)
    distances[:, 7] = 0.1
    found = hubness(matrix(distances), labels=np.arange(26), neighbours=3)
    assert found.hubs[0] == ("h", 25)
    assert found.skewness > even.skewness + 1


@given(st.integers(2, 9), st.integers(1, 9), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_brute_force_with_ties(count, queries, k, seed):
    rng = np.random.default_rng(seed)
    positions = rng.integers(0, count, queries)
    distances = rng.choice(np.array([0, 0.25, 0.5, 0.75, np.inf], np.float32), (queries, count))
    labels = rng.integers(-1, 3, count)
    found = hubness(matrix(distances, positions), labels=labels, neighbours=k, limits=(0.5,), hubs=count)
    occurrence, pairs, nearer = dict.fromkeys(range(count), 0), 0, 0
    for row, own in zip(distances, positions.tolist(), strict=True):
        others = [i for i in range(count) if i != own]
        for index in sorted(others, key=lambda i: (row[i], i))[:k]:
            occurrence[index] += 1
        unrelated = [i for i in others if labels[i] != labels[own] or labels[i] == -1]
        pairs += len(unrelated)
        nearer += sum(bool(row[i] < 0.5) for i in unrelated)
    assert (found.pairs, found.nearer[0.5]) == (pairs, nearer)
    names = "abcdefghijklmnopqrstuvwxyz"
    assert dict(found.hubs) == {names[i]: n for i, n in occurrence.items() if n}


def test_blocks_do_not_matter(rng, monkeypatch):
    given_matrix = matrix(rng.random((20, 20)))
    labels = rng.integers(0, 5, 20)
    whole = hubness(given_matrix, labels=labels)
    blocks = module.row_blocks
    monkeypatch.setattr(
        module, "row_blocks", lambda rows, columns: blocks(rows, columns=columns, block_values=50)
    )
    assert hubness(given_matrix, labels=labels) == whole


def test_json_and_text(rng):
    found = hubness(matrix(rng.random((12, 12))), labels=np.arange(12))
    plain = json.loads(json.dumps(hubness_json(found)))
    assert plain["unrelated_pairs"] == 132
    assert plain["unrelated_pairs_nearer"]["0.2"] == found.nearer[0.2]
    assert plain["k_occurrence_skewness"] == found.skewness
    lines = dict(hubness_facts(found))
    assert f"{found.nearer[0.3]} (" in lines["unrelated pairs"]
    assert "nearer than 0.45" in lines["unrelated pairs"]
    assert found.hubs[0][0] in lines["most often among the 10 nearest"]
