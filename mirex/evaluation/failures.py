"""The worst cases of an evaluation: which queries and cliques fail, and what ranked before the covers."""

import dataclasses
from collections import defaultdict

import numpy as np

from mirex.evaluation import metrics
from mirex.evaluation.evaluate import Evaluation, row_blocks
from mirex.formats.matrix import Matrix


@dataclasses.dataclass(frozen=True)
class QueryCase:
    """One query: its first cover, and the first reference that is not a cover.

    Attributes
    ----------
    query : int
        Position of the query in the collection, from 0.
    clique : int
        Number of the query's clique.
    rank : int
        Of the first cover, from 1.
    average_precision : float
        Of the query, in (0, 1].
    cover : int
        Position of the first cover in the collection, from 0.
    cover_distance : float
        From the query to that cover.
    other : int or None
        Position of the first reference that is not a cover, from 0; None if all references are covers.
    other_distance : float
        From the query to that reference; NaN if `other` is None.
    """

    query: int
    clique: int
    rank: int
    average_precision: float
    cover: int
    cover_distance: float
    other: int | None
    other_distance: float


@dataclasses.dataclass(frozen=True)
class CliqueCase:
    """The queries of one clique, worst first.

    Attributes
    ----------
    clique : int
        Number of the clique.
    mean_average_precision : float
        Over its queries, in (0, 1].
    mean_rank : float
        Mean rank of the first cover over its queries, from 1.
    queries : tuple of QueryCase
        By ascending average precision; among equals, the larger rank of the first cover comes first.
    """

    clique: int
    mean_average_precision: float
    mean_rank: float
    queries: tuple[QueryCase, ...]


def worst_queries(matrix: Matrix, evaluation: Evaluation, *, count: int) -> list[QueryCase]:
    """Find the queries whose first cover ranks last, one per clique, none with a cover at rank 1.

    Parameters
    ----------
    matrix : Matrix
        That was evaluated.
    evaluation : Evaluation
        Of this matrix.
    count : int
        How many queries, at most.

    Returns
    -------
    list of QueryCase
        Worst first.
    """
    chosen: dict[int, int] = {}
    for index in np.argsort(-evaluation.scores.first_rank, kind="stable").tolist():
        if len(chosen) == count or evaluation.scores.first_rank[index] == 1:
            break
        chosen.setdefault(int(evaluation.query_cliques[index]), index)
    return [query_case(matrix, evaluation, index=index) for index in chosen.values()]


def worst_cliques(matrix: Matrix, evaluation: Evaluation, *, count: int) -> list[CliqueCase]:
    """Find the cliques with the lowest mean average precision.

    Parameters
    ----------
    matrix : Matrix
        That was evaluated.
    evaluation : Evaluation
        Of this matrix.
    count : int
        How many cliques, at most.

    Returns
    -------
    list of CliqueCase
        Worst first; among equals, the larger mean rank of the first cover comes first.
    """
    members: dict[int, list[int]] = defaultdict(list)
    for index, clique in enumerate(evaluation.query_cliques.tolist()):
        members[clique].append(index)
    precision, ranks = evaluation.scores.average_precision, evaluation.scores.first_rank
    order = sorted(members, key=lambda c: (precision[members[c]].mean(), -ranks[members[c]].mean()))
    return [
        CliqueCase(
            clique=clique,
            mean_average_precision=float(precision[members[clique]].mean()),
            mean_rank=float(ranks[members[clique]].mean()),
            queries=tuple(
                query_case(matrix, evaluation, index=index)
                for index in sorted(members[clique], key=lambda i: (precision[i], -ranks[i]))
            ),
        )
        for clique in order[:count]
    ]


def query_case(matrix: Matrix, evaluation: Evaluation, *, index: int) -> QueryCase:
    """Describe one evaluated query.

    Parameters
    ----------
    matrix : Matrix
        That was evaluated.
    evaluation : Evaluation
        Of this matrix.
    index : int
        Number of the evaluated query, from 0, in the order of the scores.

    Returns
    -------
    QueryCase
    """
    position = int(evaluation.scores.positions[index])
    distances = matrix.distances[evaluation.rows[index]]
    order = metrics.rank_references(distances[None], query_positions=np.array([position]))[0]
    relevant = evaluation.labels.numbers[order] == evaluation.query_cliques[index]
    cover = int(order[relevant.argmax()])
    other = None if relevant.all() else int(order[relevant.argmin()])
    return QueryCase(
        query=position,
        clique=int(evaluation.query_cliques[index]),
        rank=int(evaluation.scores.first_rank[index]),
        average_precision=float(evaluation.scores.average_precision[index]),
        cover=cover,
        cover_distance=float(distances[cover]),
        other=other,
        other_distance=float("nan") if other is None else float(distances[other]),
    )


@dataclasses.dataclass(frozen=True)
class DistanceHistogram:
    """Distances of the evaluated queries.

    Attributes
    ----------
    edges : float64 [bins + 1]
        Of the bins, ascending. Values outside them are counted in the first and the last bin.
    covers : int64 [bins]
        Pairs of a query and a cover.
    others : int64 [bins]
        Pairs of a query and a reference that is not a cover.
    """

    edges: np.ndarray
    covers: np.ndarray
    others: np.ndarray


def distance_histogram(matrix: Matrix, evaluation: Evaluation, *, bins: int = 50) -> DistanceHistogram:
    """Count the distances of covers and of others, without the queries themselves.

    Parameters
    ----------
    matrix : Matrix
        That was evaluated.
    evaluation : Evaluation
        Of this matrix.
    bins : int
        Of equal width, over the bulk of the values.

    Returns
    -------
    DistanceHistogram
    """
    edges = _edges(matrix, evaluation, bins=bins)
    covers, others = np.zeros(bins, dtype=np.int64), np.zeros(bins, dtype=np.int64)
    numbers = evaluation.labels.numbers
    positions = np.asarray(matrix.query_positions)
    for part in row_blocks(evaluation.rows, columns=len(matrix.names)):
        same = numbers[positions[part]][:, None] == numbers
        values = np.clip(matrix.distances[part], edges[0], edges[-1])
        covers += np.histogram(values[same], bins=edges)[0]
        others += np.histogram(values[~same], bins=edges)[0]
        own = values[np.arange(len(part)), positions[part]]
        covers -= np.histogram(own, bins=edges)[0]
    return DistanceHistogram(edges, covers, others)


def _edges(matrix: Matrix, evaluation: Evaluation, *, bins: int) -> np.ndarray:
    """Bin edges over the bulk of the values, from a sample of the rows, so that outliers hide nothing."""
    sample = evaluation.rows[:: max(1, len(evaluation.rows) // 200)]
    low, high = np.percentile(matrix.distances[sample], [0.02, 99.98])
    return np.linspace(low, max(high, low + 1e-6), bins + 1, dtype=np.float64)
