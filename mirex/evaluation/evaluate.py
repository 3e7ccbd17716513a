"""Evaluation: the MIREX scores of a distance matrix and a cliques file, computed in blocks of rows.

`evaluate` decides which queries count, and why others do not; `mirex.evaluation.metrics` scores them;
`summarise` and `compare` add intervals and paired tests (`mirex.evaluation.significance`). The matrix is
never copied: beyond it, memory holds only a few blocks, whatever its size.
"""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from mirex.errors import EvaluationError
from mirex.evaluation import metrics
from mirex.evaluation.significance import (
    Method,
    bootstrap_intervals,
    median_interval,
    permutation_p_values,
)
from mirex.formats.cliques import NO_CLIQUE, Labels, label
from mirex.formats.matrix import Matrix

NO_CLIQUE_REASON = "without a clique in the cliques file"
NO_COVER_REASON = "without a cover in the collection"

BLOCK_VALUES = 250_000
"""Distances ranked at once. They fit into a CPU's cache; eight times as many take twice as long."""

Unit = Literal["cliques", "queries"]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Scores of one matrix, and what they are based on.

    Attributes
    ----------
    system : str
        The matrix's first line.
    names : tuple of str
        The n paths of the collection.
    labels : Labels
        Their cliques.
    rows : int64 [q]
        Row of the matrix of each evaluated query, from 0.
    scores : QueryScores
        Of the evaluated queries.
    left_out : dict of str to int
        {reason: number of queries}; both reasons are always present.
    """

    system: str
    names: tuple[str, ...]
    labels: Labels
    rows: np.ndarray
    scores: metrics.QueryScores
    left_out: dict[str, int]

    @property
    def query_cliques(self) -> np.ndarray:
        """Clique number of each evaluated query.

        Returns
        -------
        int64 [queries]
        """
        return self.labels.numbers[self.scores.positions]

    @property
    def references_without_clique(self) -> int:
        return int((self.labels.numbers == NO_CLIQUE).sum())

    @property
    def repeated_paths(self) -> int:
        """Count the lines of the collection that repeat the path of an earlier line.

        Returns
        -------
        int
        """
        return len(self.names) - len(set(self.names))


@dataclasses.dataclass(frozen=True)
class Interval:
    """A metric's value and its bootstrap interval.

    Attributes
    ----------
    value : float
        In the metric's unit.
    low, high : float
        Bounds of the interval, in the same unit.
    """

    value: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Difference:
    """One metric of two systems on the same queries.

    Attributes
    ----------
    ours, theirs : float
        Mean of the metric over the queries.
    difference : float
        `ours` minus `theirs`.
    low, high : float
        Bounds of the difference's bootstrap interval.
    p : float
        Two-sided, in (0, 1].
    """

    ours: float
    theirs: float
    difference: float
    low: float
    high: float
    p: float


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Paired differences over the queries that both matrices evaluate.

    Attributes
    ----------
    system, other_system : str
        First lines of the two matrices.
    queries : int
        How many both evaluate.
    only_ours, only_theirs : int
        How many only one of the two evaluates; these are left out.
    differences : dict of str to Difference
        For all of `metrics.MEANS`.
    """

    system: str
    other_system: str
    queries: int
    only_ours: int
    only_theirs: int
    differences: dict[str, Difference]


def evaluate(matrix: Matrix, *, cliques: Mapping[str, str], block_values: int = BLOCK_VALUES) -> Evaluation:
    """Score a matrix against cliques.

    Parameters
    ----------
    matrix : Matrix
        The rows of the evaluated queries must be free of NaN.
    cliques : mapping of str to str
        {path: clique}, as `read_cliques` returns it.
    block_values : int
        Distances ranked at once; the result does not depend on it.

    Returns
    -------
    Evaluation

    Raises
    ------
    EvaluationError
        If no query can be evaluated, or a distance of an evaluated query is NaN.

    Examples
    --------
    >>> distances = np.array([[0, 0.2, 0.9], [0.2, 0, 0.8], [0.9, 0.8, 0]], np.float32)
    >>> matrix = Matrix("example", ("a.wav", "b.wav", "c.wav"), np.arange(3), distances)
    >>> found = evaluate(matrix, cliques={"a.wav": "one", "b.wav": "one", "c.wav": "two"})
    >>> len(found.scores), found.scores.metrics()["map"]
    (2, 1.0)
    """
    labels = label(matrix.names, cliques=cliques)
    positions = np.asarray(matrix.query_positions, dtype=np.int64)
    covers = metrics.covers_in_collection(positions, labels=labels.numbers)
    without_clique = int((labels.numbers[positions] == NO_CLIQUE).sum())
    rows = np.flatnonzero(covers)
    if len(rows) == 0:
        raise EvaluationError(_nothing_to_evaluate(matrix, cliques=cliques, without_clique=without_clique))
    blocks = [
        metrics.score(matrix.distances[part], query_positions=positions[part], labels=labels.numbers)
        for part in row_blocks(rows, columns=len(matrix.names), block_values=block_values)
    ]
    left_out = {
        NO_CLIQUE_REASON: without_clique,
        NO_COVER_REASON: len(positions) - len(rows) - without_clique,
    }
    return Evaluation(
        system=matrix.system,
        names=tuple(matrix.names),
        labels=labels,
        rows=rows,
        scores=metrics.concatenate(blocks),
        left_out=left_out,
    )


def row_blocks(rows: np.ndarray, *, columns: int, block_values: int = BLOCK_VALUES) -> Iterator[np.ndarray]:
    """Cut row numbers into blocks.

    Parameters
    ----------
    rows : int [q]
        Row numbers, in any order.
    columns : int
        Distances in a row.
    block_values : int
        Distances per block at most; but a block has at least one row.

    Returns
    -------
    iterator of int [b]
        The row numbers of each block, in the given order.
    """
    step = max(1, block_values // max(1, columns))
    return (rows[start : start + step] for start in range(0, len(rows), step))


def _nothing_to_evaluate(matrix: Matrix, *, cliques: Mapping[str, str], without_clique: int) -> str:
    queries = len(matrix.query_positions)
    example = (
        f"the matrix has {matrix.names[0]!r}, the cliques file {next(iter(cliques))!r}" if cliques else ""
    )
    return (
        f"none of the {queries} queries has a cover in the collection ({without_clique} of them have no "
        f"clique); write the paths as in the matrix. {example}"
    )


def summarise(
    evaluation: Evaluation,
    *,
    generator: np.random.Generator,
    resample: Unit = "cliques",
    resamples: int = 2000,
    level: float = 0.95,
    method: Method = "percentile",
) -> dict[str, Interval]:
    """Compute every metric with its interval.

    Parameters
    ----------
    evaluation : Evaluation
        Of one matrix.
    generator : numpy.random.Generator
        Draws the resamples.
    resample : {"cliques", "queries"}
        "cliques" draws whole cliques of queries, whose results depend on each other; "queries" draws
        single queries.
    resamples, level, method
        As for `mirex.evaluation.significance.bootstrap_intervals`.

    Returns
    -------
    dict of str to Interval
        For all of `metrics.DEFINITIONS`. The bounds of TNCI10 are those of MNCI10 times the number of
        queries.

    Examples
    --------
    >>> distances = np.array([[0, 0.2, 0.9], [0.2, 0, 0.8], [0.9, 0.8, 0]], np.float32)
    >>> matrix = Matrix("example", ("a.wav", "b.wav", "c.wav"), np.arange(3), distances)
    >>> found = evaluate(matrix, cliques={"a.wav": "one", "b.wav": "one", "c.wav": "two"})
    >>> summarise(found, generator=np.random.default_rng(0))["mr1"].value
    1.0
    """
    values, scores = evaluation.scores.values(), evaluation.scores
    options: dict[str, Any] = {
        "generator": generator,
        "groups": evaluation.query_cliques if resample == "cliques" else None,
        "resamples": resamples,
        "level": level,
        "method": method,
    }
    bounds = bootstrap_intervals(np.column_stack([values[name] for name in metrics.MEANS]), **options)
    intervals = dict(zip(metrics.MEANS, bounds.tolist(), strict=True))
    intervals["tnci10"] = [bound * len(scores) for bound in intervals["mnci10"]]
    intervals["median_rank"] = median_interval(scores.first_rank, **options).tolist()
    found = scores.metrics()
    return {name: Interval(found[name], *intervals[name]) for name in metrics.DEFINITIONS}


def compare(
    ours: Evaluation,
    theirs: Evaluation,
    *,
    generator: np.random.Generator,
    resample: Unit = "cliques",
    resamples: int = 2000,
    level: float = 0.95,
    permutations: int = 10_000,
    method: Method = "percentile",
) -> Comparison:
    """Compute paired differences of the metrics that are means over queries.

    Queries are paired by path (the k-th line of a path with the k-th). The collections must have the same
    paths, in any order, since ranks in different collections cannot be compared.

    Parameters
    ----------
    ours, theirs : Evaluation
        Of the two matrices.
    generator : numpy.random.Generator
        Draws the resamples and the sign patterns.
    resample : {"cliques", "queries"}
        What is drawn, and what changes sign, together; as for `summarise`.
    resamples, level, method
        As for `mirex.evaluation.significance.bootstrap_intervals`.
    permutations : int
        As for `mirex.evaluation.significance.permutation_p_values`.

    Returns
    -------
    Comparison

    Raises
    ------
    EvaluationError
        If the collections differ, no evaluated query is common to both, or an option is out of range.
    """
    _require_same_collection(ours, theirs)
    ours_at, theirs_at = _index_by_query(ours), _index_by_query(theirs)
    common = [key for key in ours_at if key in theirs_at]
    if not common:
        raise EvaluationError("the two matrices have no evaluated query in common; compare the same queries")
    values = _common_values(ours, [ours_at[key] for key in common])
    others = _common_values(theirs, [theirs_at[key] for key in common])
    groups = ours.query_cliques[[ours_at[key] for key in common]] if resample == "cliques" else None
    deltas = values - others
    bounds = bootstrap_intervals(
        deltas, generator=generator, groups=groups, resamples=resamples, level=level, method=method
    )
    p_values = permutation_p_values(deltas, generator=generator, groups=groups, permutations=permutations)
    columns = (values.mean(axis=0), others.mean(axis=0), deltas.mean(axis=0), *bounds.T, p_values)
    table = np.stack(columns, axis=1).tolist()
    return Comparison(
        system=ours.system,
        other_system=theirs.system,
        queries=len(common),
        only_ours=len(ours_at) - len(common),
        only_theirs=len(theirs_at) - len(common),
        differences={name: Difference(*row) for name, row in zip(metrics.MEANS, table, strict=True)},
    )


def _common_values(evaluation: Evaluation, index: Sequence[int]) -> np.ndarray:
    values = evaluation.scores.values()
    return np.column_stack([values[name] for name in metrics.MEANS])[index]


def _index_by_query(evaluation: Evaluation) -> dict[tuple[str, int], int]:
    """{(path, number of this path's line among the queries): index of the evaluated query}."""
    seen: dict[str, int] = defaultdict(int)
    index = {}
    for number, position in enumerate(evaluation.scores.positions):
        name = evaluation.names[position]
        index[name, seen[name]] = number
        seen[name] += 1
    return index


def _require_same_collection(ours: Evaluation, theirs: Evaluation) -> None:
    differing = (Counter(ours.names) - Counter(theirs.names)) + (Counter(theirs.names) - Counter(ours.names))
    if differing:
        raise EvaluationError(
            f"the collections of the two matrices differ in {differing.total()} lines, for instance "
            f"{next(iter(differing))!r}; ranks in different collections cannot be compared"
        )
