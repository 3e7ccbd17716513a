"""CSLS against explicit loops, its conventions, blocks, and what it does to a hub."""

import numpy as np
import pytest

from mirex.errors import UsageError
from mirex.retrieval import hubness
from mirex.retrieval.distance import FAILED, distance_matrix, rows
from mirex.retrieval.hubness import csls, mean_of_nearest


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_against_explicit_loops(rng):
    references = unit(rng.normal(size=(12, 6)))
    queries = unit(rng.normal(size=(5, 6)))
    cosine = references.astype(float) @ references.T.astype(float)
    found = np.concatenate(list(csls(queries, references, neighbours=3)))
    for q in range(5):
        for r in range(12):
            near = sorted((cosine[r, o] for o in range(12) if o != r), reverse=True)[:3]
            similarity = 2 * float(queries[q].astype(float) @ references[r]) - sum(near) / 3
            # 2 c - m = 1 - 2 d + n, so the distance is 1 - (2 c - m) / 3.
            assert found[q, r] == pytest.approx(1 - similarity / 3, abs=1e-6)


def test_a_hub_no_longer_stands_before_the_version(rng):
    """Ten recordings around one: it is nearer to each query than the version is, until it is scaled."""
    around = rng.normal(size=(10, 30))
    centre = unit(around).sum(axis=0)
    queries = unit(around)
    versions = unit(unit(around) + 1.1 * unit(rng.normal(size=(10, 30))))
    references = np.concatenate([queries, versions, unit(centre[None])])
    positions = np.arange(10)

    def found(distances):
        others = np.array(distances, copy=True)
        others[positions, positions] = np.inf
        return int((others.argmin(axis=1) == positions + 10).sum())

    plain = distance_matrix(queries, references, query_positions=positions)
    moved = np.concatenate(list(csls(queries, references, query_positions=positions)))
    assert plain[:, 20].mean() > 0
    assert found(moved) >= found(plain)
    rank = [(np.delete(d, q) < d[20]).sum() for d, q in zip(moved, positions, strict=True)]
    before = [(np.delete(d, q) < d[20]).sum() for d, q in zip(plain, positions, strict=True)]
    assert np.mean(rank) > np.mean(before), "the hub stands further back"


def test_conventions(rng):
    references = unit(rng.normal(size=(8, 5)))
    references[3] = 0.0  # a file that could not be analysed
    positions = np.array([6, 1])
    (block,) = csls(references[positions], references, query_positions=positions)
    assert block.dtype == np.float32
    assert block[0, 6] == block[1, 1] == 0.0
    assert (block[:, 3] == FAILED).all()
    assert block.min() >= 0
    assert block.max() <= 2


def test_blocks_do_not_matter(rng, monkeypatch):
    references = unit(rng.normal(size=(30, 5)))
    positions = np.arange(4, 19)
    whole = np.concatenate(list(csls(references[positions], references, query_positions=positions)))
    monkeypatch.setattr(hubness, "rows", lambda q, r: rows(q, r, block=7))
    parts = np.concatenate(list(csls(references[positions], references, query_positions=positions)))
    np.testing.assert_array_equal(parts, whole)


def test_small_collections():
    one = np.ones((1, 3), np.float32)
    assert mean_of_nearest(one).tolist() == [0.0]
    two = np.array([[1, 0], [0, 1]], np.float32)
    assert mean_of_nearest(two, neighbours=3).tolist() == [1.0, 1.0]


def test_no_neighbours():
    with pytest.raises(UsageError, match="1 or more"):
        list(csls(np.ones((1, 3), np.float32), np.ones((2, 3), np.float32), neighbours=0))


def test_the_shipped_number_of_neighbours_is_what_the_command_uses(rng):
    references = unit(rng.normal(size=(12, 6)))
    shipped = np.concatenate(list(csls(references, references)))
    five = np.concatenate(list(csls(references, references, neighbours=5)))
    np.testing.assert_array_equal(shipped, five)
