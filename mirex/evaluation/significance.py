"""Bootstrap intervals and paired permutation tests for figures over queries, by `scipy.stats`.

Queries of one clique are not independent: two versions of one work tend to be found, or missed, together.
Both methods therefore take `groups` and draw whole groups (the cluster bootstrap; Davison & Hinkley,
"Bootstrap Methods and their Application", 1997, 3.8). Without groups every query is its own group.

* Interval: `scipy.stats.bootstrap`. Draw as many groups as there are, with replacement. The statistic is the
  mean, or the median, over the drawn groups' queries. The interval lies between its quantiles ("percentile"),
  or these corrected for bias and skewness ("bca"; Efron, "Better bootstrap confidence intervals", 1987).
* Test: a two-sided sign-flip test of the mean paired difference. Under the hypothesis that the two systems
  are exchangeable, each group's differences may change sign together. If there are at most `permutations`
  sign patterns, all 2^g are used (`scipy.stats.permutation_test`). Otherwise that many are drawn
  (`scipy.stats.monte_carlo_test`) and the observed pattern is added, so that p is never 0 (Phipson & Smyth
  2010).

Randomness comes only from the generator passed in: one seed, one result.
"""

import warnings
from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mirex.errors import EvaluationError

Method = Literal["percentile", "bca"]
METHODS: tuple[Method, ...] = get_args(Method)

CHUNK = 2_000_000
"""Random numbers drawn at once; bounds the memory."""

Weigh = Callable[[NDArray[np.float64]], NDArray[np.float64]]  # counts of groups [r, g] to statistics [m, r]


def bootstrap_intervals(
    values: np.ndarray,
    *,
    generator: np.random.Generator,
    groups: np.ndarray | None = None,
    resamples: int = 2000,
    level: float = 0.95,
    method: Method = "percentile",
) -> NDArray[np.float64]:
    """Compute lower and upper bounds of the mean of each column.

    Parameters
    ----------
    values : float64 [q, m]
        One row per query, at least one.
    generator : numpy.random.Generator
        Draws the resamples.
    groups : int [q], optional
        Queries of one group are drawn together.
    resamples : int
        How many times to draw, 1 or more.
    level : float
        Share of the intervals that contain the true mean, in (0, 1).
    method : {"percentile", "bca"}
        Kind of interval. If all resamples agree, "bca" is undefined and "percentile" is used.

    Returns
    -------
    float64 [m, 2]

    Raises
    ------
    EvaluationError
        For malformed values or groups, or options out of range.

    Examples
    --------
    >>> bounds = bootstrap_intervals(np.ones((20, 1)), generator=np.random.default_rng(0))
    >>> bounds.tolist()
    [[1.0, 1.0]]
    """
    sums, counts = _group_sums(values, groups=groups)
    both = np.column_stack([sums, counts])

    def means(drawn: NDArray[np.float64]) -> NDArray[np.float64]:
        found = drawn @ both
        return (found[:, :-1] / found[:, -1:]).T

    return _bounds(means, len(counts), generator=generator, resamples=resamples, level=level, method=method)


def median_interval(
    values: np.ndarray,
    *,
    generator: np.random.Generator,
    groups: np.ndarray | None = None,
    resamples: int = 2000,
    level: float = 0.95,
    method: Method = "percentile",
) -> NDArray[np.float64]:
    """Compute lower and upper bounds of the median over queries.

    Parameters
    ----------
    values : float64 [q]
        One per query, at least one.
    generator, groups, resamples, level, method
        As for `bootstrap_intervals`.

    Returns
    -------
    float64 [2]

    Raises
    ------
    EvaluationError
        As for `bootstrap_intervals`.

    Examples
    --------
    >>> median_interval(np.array([3.0, 3.0, 3.0]), generator=np.random.default_rng(0)).tolist()
    [3.0, 3.0]
    """
    column = np.asarray(values, np.float64)[:, None]
    _, counts = _group_sums(column, groups=groups)
    order = np.argsort(column[:, 0], kind="stable")
    ordered = column[order, 0]
    members = np.arange(len(order)) if groups is None else np.unique(groups, return_inverse=True)[1]

    def medians(drawn: NDArray[np.float64]) -> NDArray[np.float64]:
        reached = np.cumsum(drawn[:, members[order]], axis=1)
        total = reached[:, -1:]
        middle = [(reached <= place).sum(axis=1) for place in ((total - 1) // 2, total // 2)]
        return np.asarray(np.mean([ordered[index] for index in middle], axis=0)[None], np.float64)

    chunk = max(1, CHUNK // len(ordered)) * len(counts)
    bounds = _bounds(
        medians,
        len(counts),
        generator=generator,
        resamples=resamples,
        level=level,
        method=method,
        chunk=chunk,
    )
    return bounds[0]


def _bounds(
    weigh: Weigh,
    groups: int,
    *,
    generator: np.random.Generator,
    resamples: int,
    level: float,
    method: Method,
    chunk: int | None = None,
) -> NDArray[np.float64]:
    """Bounds [m, 2] of the statistics of `groups` drawn groups."""
    _require(resamples >= 1 and 0 < level < 1, "resamples must be 1 or more, and the level between 0 and 1")
    _require(method in METHODS, f"interval {method!r}: choose one of {', '.join(METHODS)}")
    whole = weigh(np.ones((1, groups)))
    if groups == 1:  # there is only one resample, and scipy requires more than one observation
        return np.repeat(whole, 2, axis=1)

    def statistic(index: NDArray[np.int64], axis: int = -1) -> NDArray[np.float64]:
        rows = index.reshape(-1, index.shape[-1])
        return weigh(_counts(rows, groups=groups)).reshape(-1, *index.shape[:-1])

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        found = stats.bootstrap(
            (np.arange(groups),),
            statistic,
            n_resamples=resamples,
            batch=max(1, (chunk or CHUNK) // groups),
            vectorized=True,
            axis=-1,
            confidence_level=level,
            method="BCa" if method == "bca" else "percentile",
            rng=generator,
        )
    bounds = np.stack([found.confidence_interval.low, found.confidence_interval.high], axis=-1)
    quantiles = np.quantile(found.bootstrap_distribution, [(1 - level) / 2, (1 + level) / 2], axis=-1).T
    return np.where(np.isnan(bounds), quantiles, bounds)


def permutation_p_values(
    differences: np.ndarray,
    *,
    generator: np.random.Generator,
    groups: np.ndarray | None = None,
    permutations: int = 10_000,
) -> NDArray[np.float64]:
    """Compute the two-sided p of each column's mean difference.

    Parameters
    ----------
    differences : float64 [q, m]
        One row per query, at least one.
    generator : numpy.random.Generator
        Draws the sign patterns.
    groups : int [q], optional
        Differences of one group change sign together.
    permutations : int
        Sign patterns at most, 1 or more.

    Returns
    -------
    float64 [m]
        In (0, 1].

    Raises
    ------
    EvaluationError
        For malformed differences or groups, or no permutations.

    Examples
    --------
    Three queries, all better by 1: of the 8 sign patterns, 2 are as far from 0.

    >>> permutation_p_values(np.ones((3, 1)), generator=np.random.default_rng(0)).tolist()
    [0.25]
    """
    _require(permutations >= 1, "permutations must be 1 or more")
    sums, _ = _group_sums(differences, groups=groups)
    observed = np.abs(sums.sum(axis=0))
    # Sums in another order round differently; a pattern that is as far as the observed one must count.
    limit = observed - 1e-9 * np.abs(sums).sum(axis=0)
    if len(sums) == 1:  # both of its sign patterns are as far, and scipy requires more than one observation
        return np.ones(sums.shape[1])

    columns = zip(sums.T, limit.tolist(), strict=True)
    p_values = [_p_value(*column, generator=generator, permutations=permutations) for column in columns]
    return np.array(p_values, np.float64)


def _p_value(
    sums: NDArray[np.float64], limit: float, *, generator: np.random.Generator, permutations: int
) -> float:
    """Share of sign patterns of the sums [g] whose total is at least as far from 0 as `limit`."""
    options: dict[str, Any] = {
        "statistic": lambda signs, axis: (np.abs(signs @ sums) >= limit).astype(np.float64),
        "vectorized": True,
        "n_resamples": permutations,
        "batch": max(1, CHUNK // len(sums)),
        "alternative": "greater",
    }
    same_sign = np.ones(len(sums))
    if len(sums) < 63 and 2 ** len(sums) <= permutations:
        found = stats.permutation_test((same_sign,), permutation_type="samples", axis=-1, **options)
    else:  # the same test; its patterns are drawn in a hundredth of the time

        def draw(size: tuple[int, ...]) -> NDArray[np.float64]:
            return 2 * generator.integers(2, size=size, dtype=np.int8).astype(np.float64) - 1

        found = stats.monte_carlo_test(same_sign, draw, axis=-1, **options)
    return float(found.pvalue)


def _group_sums(values: np.ndarray, *, groups: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Sums [g, m] and counts [g] of the rows of each group."""
    values = np.asarray(values, dtype=np.float64)
    _require(
        values.ndim == 2 and len(values) > 0, f"expected values [queries, metrics], found {values.shape}"
    )
    if groups is None:
        return values, np.ones(len(values))
    _require(
        np.shape(groups) == (len(values),), f"groups have shape {np.shape(groups)}, not {(len(values),)}"
    )
    _, inverse = np.unique(groups, return_inverse=True)
    sums = np.stack([np.bincount(inverse, weights=column) for column in values.T], axis=1)
    return sums, np.bincount(inverse).astype(np.float64)


def _counts(index: NDArray[np.int64], *, groups: int) -> NDArray[np.float64]:
    """[rows, groups]: how often each group occurs in each row of drawn groups."""
    rows = len(index)
    shifted = index + groups * np.arange(rows)[:, None]
    return np.bincount(shifted.ravel(), minlength=rows * groups).reshape(rows, groups).astype(np.float64)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise EvaluationError(message)
