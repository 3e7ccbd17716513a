"""The worst cases of an evaluation: which queries and cliques fail, and what stood in front of the covers."""

import dataclasses
from collections import defaultdict

import numpy as np

from mirex.evaluation import metrics
from mirex.evaluation.evaluate import Evaluation, row_blocks
from mirex.formats.matrix import Matrix


@dataclasses.dataclass(frozen=True)
class QueryCase:
    """One query: where its first cover came, and the first reference that is none.

    query, cover, other: 0-based positions in the collection; other is None where all references are covers.
    clique: number of the query's clique. rank: 1-based rank of the first cover.
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
    """The queries of one clique, worst first."""

    clique: int
    mean_average_precision: float
    mean_rank: float
    queries: tuple[QueryCase, ...]


def worst_queries(matrix: Matrix, evaluation: Evaluation, *, count: int) -> list[QueryCase]:
    """At most `count` queries whose first cover ranks last, one per clique, none with a cover at rank 1."""
    chosen: dict[int, int] = {}
    for index in np.argsort(-evaluation.scores.first_rank, kind="stable").tolist():
        if len(chosen) == count or evaluation.scores.first_rank[index] == 1:
            break
        chosen.setdefault(int(evaluation.query_cliques[index]), index)
    return [query_case(matrix, evaluation, index=index) for index in chosen.values()]


def worst_cliques(matrix: Matrix, evaluation: Evaluation, *, count: int) -> list[CliqueCase]:
    """The `count` cliques of lowest mean average precision."""
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
    """The case of the evaluated query number `index` (0-based, in the order of the scores)."""
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
    """Distances of the evaluated queries: edges float64 [bins + 1], counts int64 [bins] of pairs.

    Values outside the edges are counted in the first and the last bin.
    """

    edges: np.ndarray
    covers: np.ndarray
    others: np.ndarray


def distance_histogram(matrix: Matrix, evaluation: Evaluation, *, bins: int = 50) -> DistanceHistogram:
    """Count the distances of covers and of others, the queries themselves left out."""
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
    """Bin edges over the bulk of the values, from a sample of the rows: a single far value hides nothing."""
    sample = evaluation.rows[:: max(1, len(evaluation.rows) // 200)]
    low, high = np.percentile(matrix.distances[sample], [0.02, 99.98])
    return np.linspace(low, max(high, low + 1e-6), bins + 1, dtype=np.float64)
