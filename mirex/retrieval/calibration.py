"""Calibration: from a distance to the probability that two recordings are the same work.

Model: logistic regression on the distance d,

    P(same | d) = 1 / (1 + exp(-(a d + b))),   a < 0,

fitted on pairs that the network was not trained on, and sealed into the weights' metadata under the key
`calibration` as JSON: {"model": "logistic", "a": ..., "b": ..., "set": name of the pairs' data set,
"pairs": their number, "prior": share of "same" among them}.

The probability holds for a prior, the share of same-work pairs among the pairs that are asked about. Bayes'
rule moves it to another one: the prior's log odds are added to the log odds of the answer.
Source: J. Platt, "Probabilistic outputs for support vector machines", 1999, with its regularised targets.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from mirex.errors import EvaluationError, UsageError, WeightsError
from mirex.evaluation.evaluate import Evaluation
from mirex.formats.matrix import Matrix

METADATA_KEY = "calibration"


@dataclasses.dataclass(frozen=True)
class Calibration:
    """A fitted model; `set`, `pairs` and `prior` say on what.

    a: per unit of distance, negative. b: dimensionless. set: name of the data set. pairs: number of pairs.
    prior: share of same-work pairs among them, in (0, 1).
    """

    a: float
    b: float
    set: str
    pairs: int
    prior: float

    def probability(self, distances: np.ndarray | float, *, prior: float | None = None) -> np.ndarray:
        """float64, the shape of `distances`: probability of "same work", in [0, 1].

        distances: cosine distances, in [0, 2]. prior: share of same-work pairs expected where the
        question is asked, in (0, 1); None: that of the calibration set.

        >>> model = Calibration(a=-10.0, b=5.0, set="example", pairs=100, prior=0.5)
        >>> model.probability(np.array([0.2, 0.5, 0.8])).round(3).tolist()
        [0.953, 0.5, 0.047]
        >>> model.probability(0.5, prior=0.01).round(3).tolist()
        0.01
        """
        logits = self.a * np.asarray(distances, dtype=np.float64) + self.b
        if prior is not None:
            if not 0 < prior < 1:
                raise UsageError(f"the prior must lie between 0 and 1, found {prior}")
            logits = logits + _log_odds(prior) - _log_odds(self.prior)
        return _logistic(logits)

    def threshold(self, probability: float, *, prior: float | None = None) -> float:
        """The distance at which `probability` is reached; smaller distances are more probable.

        >>> Calibration(a=-10.0, b=5.0, set="example", pairs=100, prior=0.5).threshold(0.5)
        0.5
        """
        shift = 0.0 if prior is None else _log_odds(prior) - _log_odds(self.prior)
        return (_log_odds(probability) - self.b - shift) / self.a

    def describe(self, *, prior: float | None = None) -> str:
        """One line on what a probability stands on, for people."""
        asked = self.prior if prior is None else prior
        even = self.threshold(0.5, prior=prior)
        limit = f"; even odds at distance {even:.3f}" if 0 <= even <= 2 else ""
        return (
            f"calibrated on {self.pairs:,} pairs of {self.set}; holds where {100 * asked:.3g} % of the pairs "
            f"that are asked about are the same work{limit}"
        )

    def to_json(self) -> str:
        """The text that is sealed under `METADATA_KEY`."""
        return json.dumps({"model": "logistic", **dataclasses.asdict(self)}, sort_keys=True)


def from_metadata(metadata: Mapping[str, str]) -> Calibration | None:
    """The calibration sealed in a weights file's metadata; None if there is none.

    Raises `WeightsError` if it is there and cannot be read.
    """
    text = metadata.get(METADATA_KEY, "").strip()
    if not text or text == "null":
        return None
    try:
        return _from_values(json.loads(text))
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"the weights' calibration cannot be read ({error!r}): {text}") from error


def _from_values(values: dict[str, Any]) -> Calibration:
    if values["model"] != "logistic":
        raise ValueError(f"model {values['model']!r} is not known to this version; update mirex")
    result = Calibration(
        a=float(values["a"]),
        b=float(values["b"]),
        set=str(values["set"]),
        pairs=int(values["pairs"]),
        prior=float(values["prior"]),
    )
    if not (math.isfinite(result.a) and math.isfinite(result.b) and result.a < 0 and 0 < result.prior < 1):
        raise ValueError("expected finite a < 0 and b, and a prior between 0 and 1")
    return result


def fit(distances: np.ndarray, same: np.ndarray, *, set: str, iterations: int = 100) -> Calibration:
    """Fit the logistic model by Newton's method.

    distances: float [n], in [0, 2]. same: bool [n], whether the pair is of one work; both kinds must occur.
    set: name of the data set, shown with every probability. Leave the n recordings paired with themselves
    out. Raises `EvaluationError` if the input is ill-formed or larger distances are not less probable.
    """
    distances, same = np.asarray(distances, dtype=np.float64).ravel(), np.asarray(same, dtype=bool).ravel()
    positives = int(same.sum())
    if distances.shape != same.shape or not 0 < positives < len(same) or not np.isfinite(distances).all():
        raise EvaluationError(
            f"calibration needs finite distances and both kinds of pairs; found {len(distances)} distances, "
            f"{positives} same and {len(same) - positives} other pairs"
        )
    # Platt's targets: never 0 or 1, so that separable data have a finite solution.
    high, low = (positives + 1) / (positives + 2), 1 / (len(same) - positives + 2)
    a, b = _newton(distances, np.where(same, high, low), iterations=iterations)
    if not a < 0:
        raise EvaluationError(
            f"larger distances are not less probable in {set!r} (a = {a:.3g}); not calibrated"
        )
    return Calibration(a=a, b=b, set=set, pairs=len(same), prior=positives / len(same))


def fit_matrix(
    matrix: Matrix,
    evaluation: Evaluation,
    *,
    set: str,
    generator: np.random.Generator,
    most_others: int = 2_000_000,
) -> Calibration:
    """Fit on the pairs of a matrix: each evaluated query with all covers and, drawn, with others.

    matrix, evaluation: the evaluation must be of this matrix, on recordings that the network was not trained
    on. most_others: about how many pairs of different works are drawn. The prior is that of all pairs.
    """
    others = evaluation.scores.covers.size * (len(matrix.names) - 1) - int(evaluation.scores.covers.sum())
    share = min(1.0, most_others / max(1, others))
    numbers, distances, same = evaluation.labels.numbers, [], []
    for row, position in zip(evaluation.rows, evaluation.scores.positions, strict=True):
        cover = numbers == numbers[position]
        kept = cover | (generator.random(len(cover)) < share)
        kept[position] = False
        distances.append(matrix.distances[row][kept])
        same.append(cover[kept])
    drawn = fit(np.concatenate(distances), np.concatenate(same), set=set)
    prior = float(evaluation.scores.covers.sum() / (others + evaluation.scores.covers.sum()))
    b = drawn.b + _log_odds(prior) - _log_odds(drawn.prior)
    return dataclasses.replace(drawn, b=b, prior=prior)


def _newton(x: np.ndarray, targets: np.ndarray, *, iterations: int) -> tuple[float, float]:
    """Minimise the cross-entropy of logistic(a x + b); step halving keeps it descending."""
    inputs = np.column_stack([x, np.ones_like(x)])
    weights = np.array([0.0, _log_odds(float(targets.mean()))])
    loss = _cross_entropy(inputs @ weights, targets)
    for _ in range(iterations):
        p = _logistic(inputs @ weights)
        hessian = (inputs * (p * (1 - p))[:, None]).T @ inputs + 1e-12 * np.eye(2)
        step = np.linalg.solve(hessian, inputs.T @ (p - targets))
        while (new := _cross_entropy(inputs @ (weights - step), targets)) > loss and np.abs(
            step
        ).max() > 1e-12:
            step = step / 2
        weights, improvement, loss = weights - step, loss - new, new
        if improvement < 1e-12 * len(x):
            break
    return float(weights[0]), float(weights[1])


def _cross_entropy(logits: np.ndarray, targets: np.ndarray) -> float:
    return float((np.logaddexp(0, logits) - targets * logits).sum())


def _logistic(logits: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0, -logits))


def _log_odds(probability: float) -> float:
    return math.log(probability / (1 - probability))


def reliability(probabilities: np.ndarray, same: np.ndarray, *, bins: int = 10) -> np.ndarray:
    """float64 [k, 3]: mean probability, share of "same", number of pairs, of each bin that holds pairs.

    probabilities: [n], in [0, 1]. same: bool [n]. Calibrated means: the first two columns agree.

    >>> reliability(np.array([0.05, 0.05, 0.95]), np.array([False, False, True])).round(2).tolist()
    [[0.05, 0.0, 2.0], [0.95, 1.0, 1.0]]
    """
    probabilities, same = np.asarray(probabilities, dtype=np.float64), np.asarray(same, dtype=np.float64)
    index = np.minimum((probabilities * bins).astype(np.int64), bins - 1)
    counts = np.bincount(index, minlength=bins)
    sums = [np.bincount(index, weights=values, minlength=bins) for values in (probabilities, same)]
    held = counts > 0
    return np.column_stack([sums[0][held] / counts[held], sums[1][held] / counts[held], counts[held]])
