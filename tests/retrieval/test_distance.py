"""Cosine distance: the definition, and bytes that do not depend on blocks, order or company."""

import tracemalloc

import numpy as np
import pytest

from mirex.errors import MirexError, UsageError
from mirex.retrieval import distance
from mirex.retrieval.distance import distance_matrix, rows


def embeddings(rng: np.random.Generator, count: int, size: int = 64) -> np.ndarray:
    vectors = rng.standard_normal((count, size)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_by_hand() -> None:
    queries = np.array([[1, 0], [0, 3]], np.float32)
    references = np.array([[2, 0], [0, 1], [-1, 0], [1, 1]], np.float32)
    expected = [[0, 1, 2, 1 - 0.5**0.5], [1, 0, 1, 1 - 0.5**0.5]]
    distances = distance_matrix(queries, references)
    assert distances.dtype == np.float32
    np.testing.assert_allclose(distances, expected, atol=1e-7)


def test_against_explicit_loops(rng: np.random.Generator) -> None:
    queries, references = embeddings(rng, 7), embeddings(rng, 11)
    distances = distance_matrix(queries, references)
    for i, query in enumerate(queries.astype(np.float64)):
        for j, reference in enumerate(references.astype(np.float64)):
            cosine = sum(query * reference) / (sum(query**2) * sum(reference**2)) ** 0.5
            assert distances[i, j] == pytest.approx(1 - cosine, abs=1e-7)


@pytest.mark.parametrize("block", [1, 2, 3, 7, 64, 100, 1024])
def test_any_block_gives_the_same_bytes_as_the_whole(rng: np.random.Generator, block: int) -> None:
    vectors = embeddings(rng, 131, 2048)
    whole = distance_matrix(vectors, vectors, query_positions=range(131), block=131)
    blocks = list(rows(vectors, vectors, query_positions=range(131), block=block))
    assert all(len(part) <= block for part in blocks)
    assert np.concatenate(blocks).tobytes() == whole.tobytes()


def test_a_distance_does_not_depend_on_the_other_tracks(rng: np.random.Generator) -> None:
    vectors = embeddings(rng, 97, 2048)
    whole = distance_matrix(vectors, vectors)
    some = rng.permutation(97)[:23]
    assert distance_matrix(vectors[some], vectors).tobytes() == whole[some].tobytes()
    assert distance_matrix(vectors[some], vectors[some]).tobytes() == whole[np.ix_(some, some)].tobytes()


def test_order_of_dimensions_does_not_change_a_bit(rng: np.random.Generator) -> None:
    """Every partial sum is exact, so that threads and BLAS kernels cannot change a bit either."""
    vectors = embeddings(rng, 40, 2048)
    shuffled = np.ascontiguousarray(vectors[:, rng.permutation(2048)])
    assert distance_matrix(shuffled, shuffled).tobytes() == distance_matrix(vectors, vectors).tobytes()


def test_symmetric_to_the_bit(rng: np.random.Generator) -> None:
    distances = distance_matrix(vectors := embeddings(rng, 50, 2048), vectors)
    assert distances.tobytes() == distances.T.tobytes()


def test_rounding_to_the_grid_is_below_float32(rng: np.random.Generator) -> None:
    vectors = embeddings(rng, 60, 2048)
    exact = vectors.astype(np.float64) / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    np.testing.assert_allclose(
        distance_matrix(vectors, vectors), np.maximum(1 - exact @ exact.T, 0), atol=3e-8, rtol=6e-8
    )


def test_equal_embeddings_are_exactly_0_apart(rng: np.random.Generator) -> None:
    vectors = embeddings(rng, 2000, 96)
    assert not np.diagonal(distance_matrix(vectors, vectors.copy())).any()


def test_more_references_than_are_in_float64_at_once(rng: np.random.Generator) -> None:
    vectors = embeddings(rng, 2 * distance._CHUNK + 3, 8)
    vectors[[5, -2]] = 0
    whole = distance_matrix(vectors[:40], vectors, query_positions=range(40))
    expected = [distance_matrix(vectors[:40], vectors[i : i + 1])[:, 0] for i in range(len(vectors))]
    found = np.stack(expected, axis=1)
    found[np.arange(40), np.arange(40)] = 0
    assert whole.tobytes() == found.tobytes()


def test_memory_does_not_grow_with_the_references(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distance, "_MOST_VALUES", 1 << 18)
    queries = np.ones((200, 2), np.float32)
    for count in (1_000, 10_000, 100_000):
        references = np.ones((count, 2), np.float32)
        shapes = [part.shape for part in rows(queries, references)]
        assert all(len_ * wide <= max(1 << 18, 16 * count) for len_, wide in shapes)
        assert sum(len_ for len_, _ in shapes) == 200
    tracemalloc.start()
    for _ in rows(queries[:32], references):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2.2 * 16 * 100_000 * 4  # two blocks of float32: the one yielded before, and the new one


def test_within_0_and_2_for_parallel_and_opposite_vectors(rng: np.random.Generator) -> None:
    vectors = embeddings(rng, 200)
    distances = distance_matrix(vectors, np.concatenate([vectors * 3, -vectors]))
    assert distances.min() >= 0
    assert not np.signbit(distances).any()
    assert distances.max() <= 2
    assert np.diagonal(distances).max() < 1e-6
    assert np.diagonal(distances[:, 200:]).min() > 2 - 1e-6


def test_a_query_is_exactly_0_from_itself_at_its_position(rng: np.random.Generator) -> None:
    vectors = embeddings(rng, 30)
    positions = [17, 3, 3, 29]
    distances = distance_matrix(vectors[positions], vectors, query_positions=positions, block=3)
    assert [distances[row, position] for row, position in enumerate(positions)] == [0, 0, 0, 0]
    assert np.count_nonzero(distances == 0) == 4


def test_a_failed_file_is_2_from_everything_but_itself(rng: np.random.Generator) -> None:
    vectors = embeddings(rng, 5)
    vectors[[1, 3]] = 0
    distances = distance_matrix(vectors, vectors, query_positions=range(5))
    assert distances[1].tolist() == [2, 0, 2, 2, 2]
    assert distances[3].tolist() == [2, 2, 2, 0, 2]
    assert distances[:, 1].tolist() == [2, 0, 2, 2, 2]


def test_without_positions_a_failed_file_is_2_from_everything() -> None:
    assert distance_matrix(np.zeros((1, 4)), np.zeros((2, 4))).tolist() == [[2, 2]]


def test_vectors_need_not_be_normalised_nor_contiguous(rng: np.random.Generator) -> None:
    vectors = embeddings(rng, 20)
    scaled = (vectors * np.float32(2.0) ** rng.integers(-60, 60, (20, 1))).astype(np.float32)
    columns = np.asfortranarray(scaled)
    assert distance_matrix(columns, columns).tobytes() == distance_matrix(vectors, vectors).tobytes()


def test_inputs_are_not_changed(rng: np.random.Generator) -> None:
    vectors = rng.standard_normal((5, 8))
    before = vectors.copy()
    distance_matrix(vectors, vectors, query_positions=range(5))
    assert np.array_equal(vectors, before)


def test_no_queries_give_no_rows() -> None:
    assert distance_matrix(np.empty((0, 4)), np.ones((3, 4))).shape == (0, 3)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_an_error(bad: float) -> None:
    vectors = np.ones((4, 3))
    vectors[2, 1] = bad
    with pytest.raises(MirexError, match="embedding 2 has NaN or infinity"):
        distance_matrix(vectors, vectors)


@pytest.mark.parametrize(
    ("queries", "references", "options", "message"),
    [
        ((2, 3), (2, 4), {}, "agree in their second dimension"),
        ((3,), (2, 3), {}, "two-dimensional"),
        ((2, 3), (2, 3), {"block": 0}, "block 0: give 1 or more"),
        ((2, 3), (2, 3), {"query_positions": [0]}, "query_positions"),
        ((2, 3), (2, 3), {"query_positions": [0, 2]}, "query_positions"),
        ((2, 3), (2, 3), {"query_positions": [0, -1]}, "query_positions"),
    ],
)
def test_a_wrong_call_raises_at_once(queries, references, options, message) -> None:
    with pytest.raises(UsageError, match=message):
        rows(np.ones(queries), np.ones(references), **options)
