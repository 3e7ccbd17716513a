"""MIREX cover song identification metrics, from distances to one set of scores per query.

Definitions: MIREX wiki, "Audio Cover Song Identification", 2007 to 2025. Conventions, on the points where
evaluators disagree (`CONVENTIONS` has the wording that the reports print):

* self: the query is dropped from its own ranking by its position, not by name or by distance zero.
* ties: equal distances keep the order of the collection list (a stable sort).
* left out: a query without any cover in the collection has no score and enters no mean.
* denominator: precision at 10 always divides by 10, even if the query has fewer covers or the collection
  fewer recordings; MNCI10 is ten times that.
* whole list: average precision runs over the whole ranking and divides by the number of covers.

These agree with trec_eval's `map`, `P_10`, `recip_rank` and `success_k`.

MIREX's figures are followed by those that newer papers report: hit rates, which are MIREX's Rank-k; the
normalised average rank (H. Mueller et al., "Performance evaluation in content-based image retrieval", Pattern
Recognition Letters 22, 2001), in per cent as in J. Serra et al., "Supervised contrastive learning from weakly
labeled audio segments for musical version matching" (CLEWS), 2025; and its unbiased form.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from mirex.errors import EvaluationError
from mirex.formats.cliques import NO_CLIQUE

TOP = 10
"""Length of the top list for TNCI10, MNCI10 and the table of correct covers at rank X."""

CONVENTIONS: dict[str, str] = {
    "self": "The query itself is dropped from its ranking by its position in the collection list. "
    "Another line of the list with the same path is kept, as a version like any other.",
    "ties": "References at equal distance keep the order of the collection list; one of the organisers' "
    "tools sorts exact ties by name instead.",
    "left out": "A query without a clique, or without a cover in the collection, is left out of every "
    "number and counted. A reference without a clique is a cover of nothing.",
    "denominator": "MNCI10 divides by the number of evaluated queries; precision at 10 always divides "
    "by 10, even if a query has fewer than 10 covers.",
}

DEFINITIONS: dict[str, str] = {
    "tnci10": "Total number of covers identified in the top 10, summed over the queries.",
    "mnci10": "Mean number of covers identified in the top 10: TNCI10 / number of queries.",
    "map": "Mean average precision. For one query with R covers: (1/R) x the sum, over its R covers, of "
    "the precision at that cover's rank, over the whole list.",
    "mr1": "Mean rank of the first cover, counted from 1. Lower is better.",
    "precision_at_10": "Share of covers among the first 10, mean over the queries: MNCI10 / 10.",
    "rank_1": "Share of queries whose nearest reference is a cover: the hit rate at 1.",
    "rank_5": "Share of queries with at least one cover in the top 5: the hit rate at 5.",
    "rank_10": "Share of queries with at least one cover in the top 10: the hit rate at 10.",
    "median_rank": "Median rank of the first cover, counted from 1. Lower is better.",
    "nar": "Normalised average rank, in per cent: (rank - 1) / (references - 1), mean over the covers of a "
    "query, then over the queries. Lower is better, chance is 50; with several covers 0 cannot be reached.",
    "nar_unbiased": "NAR computed from the share of non-covers that rank before a cover, in per cent: 0 if "
    "all covers come first, whatever their number. Lower is better, chance is 50.",
}

MEANS = (
    "mnci10",
    "map",
    "mr1",
    "precision_at_10",
    "rank_1",
    "rank_5",
    "rank_10",
    "nar",
    "nar_unbiased",
)
"""The metrics that are means over queries of one value per query, in the order of printing."""


@dataclasses.dataclass(frozen=True)
class QueryScores:
    """One entry per evaluated query, in the order of the matrix's rows.

    Attributes
    ----------
    positions : int64 [q]
        Position of the query in the collection list, from 0.
    covers : int64 [q]
        Number of its covers there, at least 1.
    average_precision : float64 [q]
        In (0, 1].
    first_rank : int64 [q]
        Rank of the first cover, from 1.
    hits : bool [q, 10]
        Whether the reference at rank 1..10 is a cover.
    average_rank : float64 [q]
        In 0..100: mean of the covers' normalised ranks, in per cent.
    others_before : float64 [q]
        In 0..100: share of the non-covers that rank before a cover, in per cent; mean over the covers.
    """

    positions: np.ndarray
    covers: np.ndarray
    average_precision: np.ndarray
    first_rank: np.ndarray
    hits: np.ndarray
    average_rank: np.ndarray
    others_before: np.ndarray

    def __len__(self) -> int:
        return len(self.positions)

    def values(self) -> dict[str, np.ndarray]:
        """Give the values per query whose means are the metrics of `MEANS`.

        Returns
        -------
        dict of str to float64 [q]
            {metric: values}.
        """
        found = self.hits.sum(axis=1).astype(np.float64)
        return {
            "mnci10": found,
            "map": self.average_precision,
            "mr1": self.first_rank.astype(np.float64),
            "precision_at_10": found / TOP,
            **{f"rank_{k}": (self.first_rank <= k).astype(np.float64) for k in (1, 5, 10)},
            "nar": self.average_rank,
            "nar_unbiased": self.others_before,
        }

    def metrics(self) -> dict[str, float]:
        """Compute the metrics over all queries.

        Returns
        -------
        dict of str to float
            {metric: value} for all of `DEFINITIONS`.

        Raises
        ------
        EvaluationError
            If there is no query.
        """
        if len(self) == 0:
            raise EvaluationError("no query has a cover in the collection, so there is nothing to evaluate")
        means = {name: float(values.mean()) for name, values in self.values().items()}
        total = float(self.hits.sum())
        found = {
            "tnci10": total,
            **means,
            "mnci10": mean_covers_identified(total, queries=len(self)),
            "median_rank": float(np.median(self.first_rank)),
        }
        return {name: found[name] for name in DEFINITIONS}

    def correct_at_rank(self) -> np.ndarray:
        """Count the queries with a cover at each rank.

        Returns
        -------
        int64 [10]
            For rank 1..10; the sum is TNCI10.
        """
        return self.hits.sum(axis=0)


def mean_covers_identified(total: float, *, queries: int) -> float:
    """Compute MNCI10 from TNCI10 and the number of evaluated queries.

    Parameters
    ----------
    total : float
        TNCI10.
    queries : int
        Number of evaluated queries, at least 1.

    Returns
    -------
    float
        In 0..10.

    Examples
    --------
    MIREX 2011, Mixed collection:

    >>> round(mean_covers_identified(442, queries=330), 2), round(mean_covers_identified(625, queries=330), 2)
    (1.34, 1.89)
    """
    return total / queries


def covers_in_collection(query_positions: np.ndarray, *, labels: np.ndarray) -> np.ndarray:
    """Count the covers of each query among the references, without itself.

    Parameters
    ----------
    query_positions : int [q]
        Positions of the queries among the references, from 0.
    labels : int [n]
        The cliques of the references, `NO_CLIQUE` for none.

    Returns
    -------
    int64 [q]
        0 for a query without a clique.

    Examples
    --------
    >>> covers_in_collection(np.array([0, 2, 3]), labels=np.array([5, 5, 7, -1])).tolist()
    [1, 0, 0]
    """
    labels = np.asarray(labels)
    names, inverse, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    sizes = np.where(names == NO_CLIQUE, 1, sizes)
    return (sizes[inverse] - 1)[np.asarray(query_positions, dtype=np.int64)]


def rank_references(distances: np.ndarray, *, query_positions: np.ndarray) -> np.ndarray:
    """Rank the references by ascending distance, without the query itself.

    Parameters
    ----------
    distances : float [q, n]
        Free of NaN; infinite values are allowed. Equal ones keep the order of the collection.
    query_positions : int [q]
        Positions of the queries among the n references, from 0.

    Returns
    -------
    int64 [q, n - 1]
        Positions of the references, from 0.

    Raises
    ------
    EvaluationError
        If shapes disagree, a position is outside 0..n - 1 or a distance is NaN.

    Examples
    --------
    >>> rank_references(np.array([[0.0, 0.5, 0.1, 0.5]]), query_positions=np.array([0])).tolist()
    [[2, 1, 3]]
    """
    distances, positions = _validated(distances, query_positions=query_positions)
    if distances.dtype != np.float32:
        order = np.argsort(distances, axis=1, kind="stable")
        others = order[order != positions[:, None]]
        return others.reshape(len(positions), distances.shape[1] - 1)
    keys = _sort_keys(distances)
    keys[np.arange(len(positions)), positions] = np.iinfo(np.uint64).max
    keys.sort(axis=1)
    keys &= np.uint64(0xFFFFFFFF)
    return keys[:, :-1].view(np.int64)


def _sort_keys(distances: np.ndarray) -> np.ndarray:
    """uint64 [q, n] in the order of float32 distances and, among equal ones, of the columns.

    All keys differ, so NumPy's fastest sort, which is not stable, can give only this order, in a fifth of
    the time of a stable argsort.
    """
    bits = (distances + np.float32(0)).view(np.uint32)  # -0 becomes 0, its equal
    negative = bits >> np.uint32(31) == 1
    keys = np.where(negative, ~bits, bits | np.uint32(1 << 31)).astype(np.uint64)
    keys <<= np.uint64(32)
    keys |= np.arange(distances.shape[1], dtype=np.uint64)
    return keys


def score(distances: np.ndarray, *, query_positions: np.ndarray, labels: np.ndarray) -> QueryScores:
    """Score every query of a block of rows; each must have at least one cover.

    Parameters
    ----------
    distances : float [q, n]
        Free of NaN; infinite values are allowed.
    query_positions : int [q]
        Positions of the queries among the n references, from 0.
    labels : int [n]
        The cliques, `NO_CLIQUE` for none.

    Returns
    -------
    QueryScores

    Raises
    ------
    EvaluationError
        If shapes disagree, a position is outside 0..n - 1, a distance is NaN or a query has no cover.

    Examples
    --------
    A query at position 0 whose only cover is second:

    >>> scores = score(np.array([[0.0, 0.2, 0.1]]), query_positions=np.array([0]), labels=np.array([1, 1, 2]))
    >>> scores.first_rank.tolist(), scores.average_precision.tolist()
    ([2], [0.5])
    """
    labels = np.asarray(labels, dtype=np.int64)
    order = rank_references(distances, query_positions=query_positions)
    positions = np.asarray(query_positions, dtype=np.int64)
    if labels.shape != (np.shape(distances)[1],):
        raise EvaluationError(
            f"labels have shape {labels.shape}, but there are {np.shape(distances)[1]} references"
        )
    counts = covers_in_collection(positions, labels=labels)
    if (counts == 0).any():
        raise EvaluationError(f"the query at position {positions[counts == 0][0]} has no cover; leave it out")
    return _score_ranking(labels[order] == labels[positions][:, None], positions=positions, covers=counts)


def _score_ranking(relevant: np.ndarray, *, positions: np.ndarray, covers: np.ndarray) -> QueryScores:
    """Scores from relevance by rank: bool [q, n - 1], with `covers` true values in each row."""
    rows, columns = np.nonzero(relevant)
    starts = np.cumsum(covers) - covers
    precision = (np.arange(len(rows)) - starts[rows] + 1) / (columns + 1)
    # The j-th cover, at rank r, both counted from 0, has r - j references before it that are not covers.
    before = columns - (np.arange(len(rows)) - starts[rows])
    references = relevant.shape[1]
    hits = np.zeros((len(positions), TOP), dtype=bool)
    hits[:, : relevant.shape[1]] = relevant[:, :TOP]
    return QueryScores(
        positions=positions,
        covers=covers,
        average_precision=np.bincount(rows, weights=precision, minlength=len(positions)) / covers,
        first_rank=columns[starts] + 1,
        hits=hits,
        average_rank=_mean_share(columns, rows, covers, of=np.full(len(covers), references - 1)),
        others_before=_mean_share(before, rows, covers, of=references - covers),
    )


def _mean_share(values: np.ndarray, rows: np.ndarray, covers: np.ndarray, *, of: np.ndarray) -> np.ndarray:
    """Mean of each query's values, one per cover, in per cent of `of`; 0 where `of` is 0."""
    sums = np.bincount(rows, weights=values, minlength=len(covers))
    return 100 * sums / (covers * np.maximum(of, 1))


def _validated(distances: np.ndarray, *, query_positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    distances = np.asarray(distances)
    positions = np.asarray(query_positions, dtype=np.int64)
    if distances.ndim != 2 or positions.shape != distances.shape[:1]:
        raise EvaluationError(
            f"distances have shape {distances.shape} and query positions {positions.shape}; "
            "expected [queries, references] and [queries]"
        )
    if positions.size and not (positions.min() >= 0 and positions.max() < distances.shape[1]):
        raise EvaluationError(f"a query position is outside 0..{distances.shape[1] - 1}")
    if np.isnan(distances).any():
        raise EvaluationError("a distance is NaN, which has no rank; use a large finite distance instead")
    return distances, positions


def concatenate(blocks: Sequence[QueryScores]) -> QueryScores:
    """Join the scores of consecutive blocks of rows.

    Parameters
    ----------
    blocks : sequence of QueryScores
        In the order of the rows.

    Returns
    -------
    QueryScores
        Empty if there are no blocks.
    """
    whole = np.zeros(0, dtype=np.int64)
    none = np.zeros(0)
    empty = QueryScores(whole, whole, none, whole, np.zeros((0, TOP), dtype=bool), none, none)
    fields = [field.name for field in dataclasses.fields(QueryScores)]
    return QueryScores(*(np.concatenate([getattr(b, name) for b in (empty, *blocks)]) for name in fields))
