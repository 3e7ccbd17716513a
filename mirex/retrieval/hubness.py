"""Hubness reduction at query time: cross-domain similarity local scaling, one-sided.

A recording that is near everything ranks before the versions that a query looks for. With c the cosine
similarity and m(r) the mean of a reference's similarities to its k nearest other references, references are
ranked by 2 c(q, r) - m(r): hubs have a large m. Source: A. Conneau et al., "Word translation without parallel
data", ICLR 2018, whose third term, the query's own mean, does not change the ranking of a query.

As a distance: with d = 1 - c and n(r) = 1 - m(r), (2 + 2 d(q, r) - n(r)) / 3, which is in [0, 2] like a
cosine distance. It falls as the similarity rises, so the ranking is the same, but it is not a cosine
distance: two equal recordings are not 0 apart, except that a query is 0 from itself.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from mirex._typing import Array
from mirex.errors import UsageError
from mirex.retrieval.distance import FAILED, rows

NEIGHBOURS = 5  # MAP and mean rank gain with works of two versions, among others, and of eleven


def csls(
    queries: Array,
    references: Array,
    *,
    query_positions: Sequence[int] | NDArray[np.int64] | None = None,
    neighbours: int = NEIGHBOURS,
) -> Iterator[Array]:
    """Compute the distance of every query to every reference, with hubs pushed back, in blocks of rows.

    Parameters
    ----------
    queries : float32 [q, d]
        Embeddings, as for `mirex.retrieval.distance.rows`.
    references : float32 [n, d]
        Embeddings of the collection; zeros: a failed file.
    query_positions : int [q], optional
        0-based position of each query among the references, where its distance is exactly 0.
    neighbours : int
        k, 1 or more; all others if the collection has fewer.

    Yields
    ------
    float32 [b, n]
        In [0, 2], in query order; FAILED for failed files.

    Raises
    ------
    UsageError
        For shapes, positions or a k that do not fit.
    """
    if neighbours < 1:
        raise UsageError(f"neighbours {neighbours}: give 1 or more")
    nearest = mean_of_nearest(references, neighbours=neighbours)
    positions = None if query_positions is None else np.asarray(query_positions, np.int64)
    return scaled(rows(queries, references), nearest=nearest, query_positions=positions)


def mean_of_nearest(references: Array, *, neighbours: int = NEIGHBOURS) -> NDArray[np.float64]:
    """Compute the mean distance of each reference to its nearest others.

    Parameters
    ----------
    references : float32 [n, d]
        Embeddings.
    neighbours : int
        How many others, 1 or more; all if there are fewer.

    Returns
    -------
    float64 [n]
        In [0, 2]; 0 if there is no other.
    """
    count = min(neighbours, len(references) - 1)
    if count < 1:
        return np.zeros(len(references))
    means = []
    for start, block in _numbered(rows(references, references)):
        own = np.arange(len(block))
        others = block.astype(np.float64)
        others[own, start + own] = np.inf
        means.append(np.partition(others, count - 1, axis=1)[:, :count].mean(axis=1))
    return np.concatenate(means)


def scaled(
    blocks: Iterable[Array], *, nearest: NDArray[np.float64], query_positions: NDArray[np.int64] | None
) -> Iterator[Array]:
    """Turn cosine distances into those of `csls`, in blocks of rows.

    Parameters
    ----------
    blocks : iterable of float32 [b, n]
        Cosine distances, as `mirex.retrieval.distance.rows` yields them, in query order.
    nearest : float64 [n]
        Of `mean_of_nearest`.
    query_positions : int64 [q] or None
        As for `csls`.

    Yields
    ------
    float32 [b, n]
    """
    for start, block in _numbered(blocks):
        found = ((2 + 2 * block.astype(np.float64) - nearest) / 3).astype(np.float32)
        found[block == FAILED] = FAILED
        if query_positions is not None:
            own = query_positions[start : start + len(block)]
            found[np.arange(len(block)), own] = 0.0
        yield found


def _numbered(blocks: Iterable[Array]) -> Iterator[tuple[int, Array]]:
    """Blocks of rows, each with the number of its first row."""
    start = 0
    for block in blocks:
        yield start, block
        start += len(block)
