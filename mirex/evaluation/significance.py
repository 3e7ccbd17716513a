"""Bootstrap intervals and paired permutation tests for means over queries.

Queries of one clique are not independent: two versions of one work tend to be found, or missed, together.
Both methods therefore take `groups` and draw whole groups (the cluster bootstrap; Davison & Hinkley,
"Bootstrap Methods and their Application", 1997, 3.8): without groups every query is its own group.

* Interval: percentile bootstrap. Draw as many groups as there are, with replacement; the statistic is the
  mean over the drawn groups' queries; the interval is between its quantiles.
* Test: two-sided sign-flip test of the mean paired difference. Under the hypothesis that the two systems
  are exchangeable, each group's differences may change sign together. All 2^g sign patterns are taken if
  they are no more than `permutations`; else that many are drawn, and the observed pattern is added to
  them, so that p is never 0 (Phipson & Smyth 2010).

Randomness comes only from the generator passed in: one seed, one result.
"""

from collections.abc import Iterator

import numpy as np

from mirex.errors import EvaluationError

CHUNK = 2_000_000
"""Random numbers drawn at once, which bounds the memory."""


def bootstrap_intervals(
    values: np.ndarray,
    *,
    generator: np.random.Generator,
    groups: np.ndarray | None = None,
    resamples: int = 2000,
    level: float = 0.95,
) -> np.ndarray:
    """float64 [m, 2]: lower and upper bound of the mean of each column.

    values: [q, m], one row per query, at least one. groups: int [q] or None. level: in (0, 1).

    >>> bounds = bootstrap_intervals(np.ones((20, 1)), generator=np.random.default_rng(0))
    >>> bounds.tolist()
    [[1.0, 1.0]]
    """
    _require(resamples >= 1 and 0 < level < 1, "resamples must be 1 or more, and the level between 0 and 1")
    sums, counts = _group_sums(values, groups=groups)
    both = np.column_stack([sums, counts])
    means = np.empty((resamples, sums.shape[1]))
    for part in _chunks(resamples, size=len(counts)):
        drawn = _draw_counts(len(part), groups=len(counts), generator=generator) @ both
        means[part.start : part.stop] = drawn[:, :-1] / drawn[:, -1:]
    return np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0).T


def permutation_p_values(
    differences: np.ndarray,
    *,
    generator: np.random.Generator,
    groups: np.ndarray | None = None,
    permutations: int = 10_000,
) -> np.ndarray:
    """float64 [m], in (0, 1]: two-sided p of each column's mean difference.

    differences: [q, m], one row per query. groups: int [q] or None.

    Three queries, all better by 1: of the 8 sign patterns, 2 are as far from 0.

    >>> permutation_p_values(np.ones((3, 1)), generator=np.random.default_rng(0)).tolist()
    [0.25]
    """
    _require(permutations >= 1, "permutations must be 1 or more")
    sums, _ = _group_sums(differences, groups=groups)
    observed = np.abs(sums.sum(axis=0))
    # Sums in another order round differently; a pattern that is as far as the observed one must count.
    limit = observed - 1e-9 * np.abs(sums).sum(axis=0)
    exact = len(sums) < 63 and 2 ** len(sums) <= permutations
    total = 2 ** len(sums) if exact else permutations
    far = np.zeros(sums.shape[1], dtype=np.int64)
    for part in _chunks(total, size=len(sums)):
        signs = _patterns(part, groups=len(sums)) if exact else _draw_signs(part, len(sums), generator)
        far += (np.abs(signs @ sums) >= limit).sum(axis=0)
    return far / total if exact else (far + 1) / (total + 1)


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


def _chunks(total: int, *, size: int) -> Iterator[range]:
    step = max(1, CHUNK // size)
    return (range(start, min(start + step, total)) for start in range(0, total, step))


def _draw_counts(rows: int, *, groups: int, generator: np.random.Generator) -> np.ndarray:
    """[rows, groups]: how often each group is drawn in `groups` draws with replacement."""
    drawn = generator.integers(groups, size=(rows, groups)) + groups * np.arange(rows)[:, None]
    return np.bincount(drawn.ravel(), minlength=rows * groups).reshape(rows, groups).astype(np.float64)


def _draw_signs(part: range, groups: int, generator: np.random.Generator) -> np.ndarray:
    return generator.integers(2, size=(len(part), groups), dtype=np.int8) * 2.0 - 1.0


def _patterns(part: range, *, groups: int) -> np.ndarray:
    """[rows, groups] of +1 and -1: the binary digits of the pattern numbers."""
    return ((np.array(part)[:, None] >> np.arange(groups)) & 1) * 2.0 - 1.0


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise EvaluationError(message)
