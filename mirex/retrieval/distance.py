"""Cosine distance between embeddings: 1 minus the dot product over the product of the lengths.

The result has the same bytes for any block size, thread count and BLAS. Vectors are scaled to unit
length and rounded to multiples of 2^-26 (at most 8e-9 per component, far below the float32 precision of
a distance). Products are then multiples of 2^-52, and by the Cauchy-Schwarz inequality no partial
sum exceeds 1 by more than the rounding, so float64 represents every partial sum exactly. The order of
summation, which block shapes, threads and fused instructions change, therefore cannot matter. The
exact dot product is divided by sqrt(s_q s_r), where s_q and s_r are the rounded vectors' squared
lengths, also exact sums. Equal embeddings are exactly 0 apart, since in IEEE arithmetic sqrt(s s)
is s, and their dot product is s too. For the same reasons d(a, b) = d(b, a), and a query's row does not
depend on the other queries.

Conventions: distances are float32 in [0, 2]. A vector of zeros represents a file that could not be
analysed; its distance to everything is 2.0, the maximum. A query is exactly 0 from itself.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mirex.errors import MirexError, UsageError

FAILED = 2.0  # distance of a failed file to everything but itself
_GRID = 2.0**26
_CHUNK = 1024  # rows in float64 at a time
_MOST_VALUES = 1 << 24  # of distances at a time, where that is not below _FEWEST_ROWS
_FEWEST_ROWS = 16
_IN_CACHE = 1 << 15  # values worked on before the next


def distance_matrix(
    queries: ArrayLike,
    references: ArrayLike,
    *,
    query_positions: Sequence[int] | np.ndarray | None = None,
    block: int = 1024,
) -> np.ndarray:
    """Compute the distance of every query to every reference.

    Parameters
    ----------
    queries : float [q, d]
        Embeddings, not necessarily of unit length (zeros: a failed file).
    references : float [n, d]
        The same.
    query_positions : int [q], optional
        Each query's own 0-based position among the references, where the distance is set to exactly
        0; None if the queries are not among them.
    block : int
        Queries per step at most. It bounds memory and does not change the result.

    Returns
    -------
    float32 [q, n]
        In [0, 2].

    Raises
    ------
    UsageError
        For shapes or positions that do not fit.
    MirexError
        For NaN or infinity.

    Examples
    --------
    >>> distance_matrix([[1, 0]], [[2, 0], [0, 1], [-1, 0]]).tolist()
    [[0.0, 1.0, 2.0]]
    """
    blocks = list(rows(queries, references, query_positions=query_positions, block=block))
    return np.concatenate(blocks) if blocks else np.empty((0, len(np.asarray(references))), np.float32)


def rows(
    queries: ArrayLike,
    references: ArrayLike,
    *,
    query_positions: Sequence[int] | np.ndarray | None = None,
    block: int = 1024,
) -> Iterator[np.ndarray]:
    """Compute `distance_matrix` in blocks of rows, in query order.

    It needs about 100 MB of memory besides the embeddings, whatever their number (above a million
    references: 64 bytes for each).

    Parameters
    ----------
    queries, references, query_positions, block
        As for `distance_matrix`.

    Yields
    ------
    float32 [<= block, n]

    Raises
    ------
    UsageError, MirexError
        As for `distance_matrix`.
    """
    queries, references = np.asarray(queries), np.asarray(references)
    if queries.ndim != 2 or references.ndim != 2 or queries.shape[1] != references.shape[1]:
        raise UsageError(
            f"queries {list(queries.shape)} and references {list(references.shape)} must be two-dimensional "
            "and agree in their second dimension"
        )
    if block < 1:
        raise UsageError(f"block {block}: give 1 or more")
    positions = None if query_positions is None else np.asarray(query_positions, dtype=np.intp)
    if positions is not None and (
        positions.shape != (len(queries),) or np.any((positions < 0) | (positions >= len(references)))
    ):
        raise UsageError(
            f"query_positions must have a position from 0 to {len(references) - 1} for each of the "
            f"{len(queries)} queries"
        )
    return _blocks(queries, references, positions, block)


def _blocks(
    queries: np.ndarray, references: np.ndarray, positions: np.ndarray | None, block: int
) -> Iterator[NDArray[np.float32]]:
    _check_finite(references)
    _check_finite(queries)
    step = min(block, max(_FEWEST_ROWS, _MOST_VALUES // max(len(references), 1)))
    for start in range(0, len(queries), step):
        part = queries[start : start + step]
        distances = np.empty((len(part), len(references)), np.float32)
        for index in range(0, len(part), _CHUNK):
            _fill(distances[index : index + _CHUNK], part[index : index + _CHUNK], references)
        if positions is not None:
            distances[np.arange(len(part)), positions[start : start + step]] = 0.0
        yield distances


def _fill(distances: NDArray[np.float32], queries: np.ndarray, references: np.ndarray) -> None:
    """Write the distances of at most _CHUNK queries to all references, _CHUNK of these at a time."""
    query_units, query_squares = _on_grid(queries)
    for start in range(0, len(references), _CHUNK):
        units, squares = _on_grid(references[start : start + _CHUNK])
        cosines = query_units @ units.T
        rows = max(1, _IN_CACHE // len(units))
        for row in range(0, len(cosines), rows):
            part, part_squares = cosines[row : row + rows], query_squares[row : row + rows]
            lengths = np.multiply.outer(part_squares, squares)
            part /= np.sqrt(lengths, out=lengths)
            np.subtract(1.0, part, out=part)
            np.clip(part, 0.0, 2.0, out=part)
            distances[row : row + rows, start : start + _CHUNK] = part
        distances[np.isinf(query_squares), start : start + _CHUNK] = FAILED
        distances[:, start : start + _CHUNK][:, np.isinf(squares)] = FAILED


def _check_finite(vectors: np.ndarray) -> None:
    for start in range(0, len(vectors), _CHUNK):
        finite = np.isfinite(_squares(np.asarray(vectors[start : start + _CHUNK], np.float64)))
        if not finite.all():
            bad = start + int(np.argmin(finite))
            raise MirexError(f"embedding {bad} has NaN or infinity; extract its file again")


def _on_grid(vectors: np.ndarray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rows at unit length in whole multiples of 1 / _GRID, float64 [n, d], and their squared lengths [n].

    A row of zeros has no direction; its squared length is set to infinity.
    """
    units = np.empty(vectors.shape, np.float64)
    squares = np.empty(len(vectors), np.float64)
    rows = max(1, _IN_CACHE // max(vectors.shape[1], 1))
    for start in range(0, len(vectors), rows):
        part = units[start : start + rows]
        part[...] = vectors[start : start + rows]
        lengths = np.sqrt(_squares(part))
        part *= (_GRID / np.where(lengths == 0, 1.0, lengths))[:, None]
        np.rint(part, out=part)
        squares[start : start + rows] = np.where(lengths == 0, np.inf, _squares(part))
    return units, squares


def _squares(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.einsum("ij,ij->i", vectors, vectors)
