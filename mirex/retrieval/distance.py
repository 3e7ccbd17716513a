"""Cosine distance between embeddings: 1 minus the dot product over the product of the lengths.

The result has the same bytes for any block size, thread count and BLAS. Vectors are scaled to unit
length and rounded to multiples of 2^-26 (at most 8e-9 a component, far below what float32 keeps of
a distance). Products are then multiples of 2^-52, and by the Cauchy-Schwarz inequality no partial
sum exceeds 1 by more than the rounding, so float64 holds every partial sum exactly: the order of
summation, which is what block shapes, threads and fused instructions change, cannot matter. The
exact dot product is divided by the rounded vectors' own lengths, which are exact sums too; equal
embeddings are thus 0 apart. For the same reasons d(a, b) = d(b, a), and a query's row does not
depend on which other queries are asked.

Conventions: distances are float32 in [0, 2]. A vector of zeros stands for a file that could not be
analysed and is 2.0, cosine's maximum, from everything. A query is exactly 0 from itself.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from mirex.errors import MirexError, UsageError

FAILED = 2.0  # distance of a failed file to everything but itself
_GRID = 2.0**26
_CHUNK = 1024  # rows converted to float64 at a time


def distance_matrix(
    queries: np.ndarray,
    references: np.ndarray,
    *,
    query_positions: Sequence[int] | np.ndarray | None = None,
    block: int = 1024,
) -> np.ndarray:
    """Distances of every query to every reference.

    queries: [q, d], references: [n, d], any length but 0 (zeros: a failed file).
    query_positions: for each query its own 0-based position among the references, where the
    distance is set to exactly 0; None if the queries are not among them.
    block: queries per step; it bounds memory and does not change the result.

    Returns float32 [q, n] in [0, 2].
    Raises `UsageError` for shapes or positions that do not fit, `MirexError` for NaN or infinity.
    """
    blocks = list(rows(queries, references, query_positions=query_positions, block=block))
    return np.concatenate(blocks) if blocks else np.empty((0, len(references)), np.float32)


def rows(
    queries: np.ndarray,
    references: np.ndarray,
    *,
    query_positions: Sequence[int] | np.ndarray | None = None,
    block: int = 1024,
) -> Iterator[np.ndarray]:
    """`distance_matrix` in blocks of rows: yields float32 [<= block, n], in query order."""
    queries, references = np.asarray(queries), np.asarray(references)
    if queries.ndim != 2 or references.ndim != 2 or queries.shape[1] != references.shape[1]:
        raise UsageError(
            f"queries {list(queries.shape)} and references {list(references.shape)} must be two-dimensional "
            "and agree in their second dimension"
        )
    if block < 1:
        raise UsageError(f"block must be 1 or more, not {block}")
    positions = None if query_positions is None else np.asarray(query_positions, dtype=np.intp)
    if positions is not None and (
        positions.shape != (len(queries),) or np.any((positions < 0) | (positions >= len(references)))
    ):
        raise UsageError(
            f"query_positions must hold, for each of the {len(queries)} queries, "
            f"a position from 0 to {len(references) - 1}"
        )
    return _blocks(queries, references, positions, block)


def _blocks(
    queries: np.ndarray, references: np.ndarray, positions: np.ndarray | None, block: int
) -> Iterator[np.ndarray]:
    units, lengths = _on_grid(references)
    for start in range(0, len(queries), block):
        query_units, query_lengths = _on_grid(queries[start : start + block])
        cosines = query_units @ units.T
        cosines /= np.multiply.outer(query_lengths, lengths)
        distances = np.clip(1.0 - cosines, 0.0, 2.0).astype(np.float32)
        distances[np.isinf(query_lengths), :] = FAILED
        distances[:, np.isinf(lengths)] = FAILED
        if positions is not None:
            distances[np.arange(len(distances)), positions[start : start + block]] = 0.0
        yield distances


def _on_grid(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows at unit length rounded to multiples of 1 / _GRID, float64 [n, d], and their lengths [n].

    A row of zeros has no direction; its length is given as infinite.
    """
    units = np.empty(vectors.shape, np.float64)
    lengths = np.empty(len(vectors), np.float64)
    for start in range(0, len(vectors), _CHUNK):
        part = units[start : start + _CHUNK]
        part[...] = vectors[start : start + _CHUNK]
        norms = _norms(part)
        if not np.isfinite(norms).all():
            bad = start + int(np.flatnonzero(~np.isfinite(norms))[0])
            raise MirexError(f"embedding {bad} holds NaN or infinity; extract its file again")
        part *= (_GRID / np.where(norms == 0, 1.0, norms))[:, None]
        np.rint(part, out=part)
        part /= _GRID
        lengths[start : start + _CHUNK] = np.where(norms == 0, np.inf, _norms(part))
    return units, lengths


def _norms(vectors: np.ndarray) -> np.ndarray:
    return np.sqrt((vectors * vectors).sum(axis=1))
