"""Calibration: from a distance to the probability that two recordings are versions of one work.

A distance is evidence, measured by its likelihood ratio: how much more often versions are at that distance
than unrelated recordings. Its logarithm falls with the distance in two straight pieces that meet at a knee,

    log ratio(d) = level + below * min(d - knee, 0) + above * max(d - knee, 0),   below, above < 0,

fitted by logistic regression on pairs that the network was not trained on, from several data sets. All
data sets have equal weight, as have versions and others. The probability follows by Bayes' rule from a prior,
the expected share of versions among the pairs: log odds = log ratio + log odds of the prior.

Sealed into the weights' metadata under the key `calibration` as JSON: {"model": "two pieces", "knee",
"level", "below", "above", "data": names of the data sets, "pairs": their number}.
Source: J. Platt, "Probabilistic outputs for support vector machines", 1999, with its regularised targets.
"""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, log_expit, logit

from mirex.errors import EvaluationError, UsageError, WeightsError
from mirex.formats.matrix import Matrix
from mirex.retrieval.distance import FAILED
from mirex.untrusted import parse_json

if TYPE_CHECKING:
    from mirex.evaluation.evaluate import Evaluation

METADATA_KEY = "calibration"
MODEL = "two pieces"
EVEN = 0.5
KNEES = 19  # tried, at equal shares of the versions' distances
FLATTEST, STEEPEST = -1e-3, -60.0  # slopes: the probability always falls, and not at once


class Pairs(NamedTuple):
    """Pairs of recordings of one data set.

    Attributes
    ----------
    distances : float [pairs]
        Cosine distances, in [0, 2]. No recording is paired with itself.
    same : bool [pairs]
        Whether the two are versions of one work.
    name : str
        Of the data set.
    """

    distances: NDArray[np.float64]
    same: NDArray[np.bool_]
    name: str


@dataclasses.dataclass(frozen=True)
class Calibration:
    """A fitted model; `data` and `pairs` tell on what.

    Attributes
    ----------
    knee : float
        Distance at which the two pieces meet.
    level : float
        Log likelihood ratio there.
    below, above : float
        Slopes of the log likelihood ratio, per unit of distance; negative.
    data : str
        Names of the data sets.
    pairs : int
        Number of pairs.
    """

    knee: float
    level: float
    below: float
    above: float
    data: str
    pairs: int

    def log_ratio(self, distances: np.ndarray | float) -> NDArray[np.float64]:
        """Compute the natural logarithm of the likelihood ratio.

        Parameters
        ----------
        distances : float, any shape
            Cosine distances, in [0, 2].

        Returns
        -------
        float64, the same shape
            Above 0 if the distance is evidence for versions of one work.
        """
        beyond = np.asarray(distances, dtype=np.float64) - self.knee
        return self.level + self.below * np.minimum(beyond, 0) + self.above * np.maximum(beyond, 0)

    def probability(self, distances: np.ndarray | float, *, prior: float = EVEN) -> NDArray[np.float64]:
        """Compute the probability of "versions of one work".

        Parameters
        ----------
        distances : float, any shape
            Cosine distances, in [0, 2].
        prior : float
            Expected share of versions among the pairs, in (0, 1).

        Returns
        -------
        float64, the same shape
            In [0, 1].

        Raises
        ------
        UsageError
            For a prior outside (0, 1).

        Examples
        --------
        >>> model = Calibration(knee=0.5, level=0.0, below=-10.0, above=-20.0, data="example", pairs=100)
        >>> model.probability(np.array([0.2, 0.5, 0.8])).round(3).tolist()
        [0.953, 0.5, 0.002]
        >>> model.probability(0.5, prior=0.01).round(3).tolist()
        0.01
        """
        return expit(self.log_ratio(distances) + _log_odds(prior))

    def threshold(self, probability: float, *, prior: float = EVEN) -> float:
        """Find the distance at which a probability is reached; smaller distances are more probable.

        Parameters
        ----------
        probability : float
            In (0, 1).
        prior : float
            As in `probability`.

        Returns
        -------
        float
            Outside [0, 2] if no distance, or every distance, reaches it.

        Examples
        --------
        >>> model = Calibration(knee=0.5, level=0.0, below=-10.0, above=-20.0, data="example", pairs=100)
        >>> model.threshold(0.5)
        0.5
        """
        wanted = float(logit(probability)) - _log_odds(prior) - self.level
        return self.knee + wanted / (self.below if wanted > 0 else self.above)

    def describe(self, *, prior: float = EVEN) -> str:
        """Say in one line what a probability is based on.

        Parameters
        ----------
        prior : float
            As in `probability`.

        Returns
        -------
        str
        """
        even = self.threshold(0.5, prior=prior)
        limit = f"; even odds at distance {even:.3f}" if 0 <= even <= 2 else ""
        return (
            f"if {100 * prior:.3g} % of the pairs are versions of one work{limit} "
            f"(calibrated on {self.pairs:,} pairs of {self.data})"
        )

    def to_json(self) -> str:
        """Format the text to seal under `METADATA_KEY`.

        Returns
        -------
        str
            JSON, as described above.
        """
        return json.dumps({"model": MODEL, **dataclasses.asdict(self)}, sort_keys=True)


def from_metadata(metadata: Mapping[str, str]) -> Calibration | None:
    """Read the calibration sealed in a weights file's metadata.

    Parameters
    ----------
    metadata : mapping of str to str
        As `mirex.model.weights.read_metadata` gives it.

    Returns
    -------
    Calibration or None
        None if there is none.

    Raises
    ------
    WeightsError
        If there is one that cannot be read.
    """
    text = metadata.get(METADATA_KEY, "").strip()
    if not text or text == "null":
        return None
    try:
        return _from_values(parse_json(text))
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise WeightsError(f"the calibration of the weights cannot be read ({error!r}): {text}") from error


def _from_values(values: dict[str, Any]) -> Calibration:
    if values["model"] != MODEL:
        raise ValueError(f"model {values['model']!r} is unknown to this version")
    numbers = {name: float(values[name]) for name in ("knee", "level", "below", "above")}
    if not all(map(math.isfinite, numbers.values())) or max(numbers["below"], numbers["above"]) >= 0:
        raise ValueError("expected finite numbers, and slopes below 0")
    return Calibration(**numbers, data=str(values["data"]), pairs=int(values["pairs"]))


def fit(sets: Sequence[Pairs]) -> Calibration:
    """Fit the model to pairs of several data sets.

    Parameters
    ----------
    sets : sequence of Pairs
        All have equal weight, and so have versions and other pairs in each, whatever their numbers.

    Returns
    -------
    Calibration

    Raises
    ------
    EvaluationError
        If the input is malformed, or larger distances are not less probable.
    """
    for pairs in sets:
        _check(pairs)
    distances = np.concatenate([each.distances for each in sets])
    targets, weights = (np.concatenate(parts) for parts in zip(*map(_targets, sets), strict=True))
    versions = np.concatenate([each.distances[each.same] for each in sets])
    fits = [
        (*_fit_pieces(distances, targets, weights, knee=float(knee)), float(knee))
        for knee in np.unique(np.quantile(versions, np.linspace(0.05, 0.95, KNEES)))
    ]
    _, (level, below, above), knee = min(fits, key=lambda found: found[0])
    names = ", ".join(each.name for each in sets)
    return Calibration(knee, float(level), float(below), float(above), data=names, pairs=len(distances))


def _check(pairs: Pairs) -> None:
    versions = int(np.sum(pairs.same))
    whole = pairs.distances.shape == pairs.same.shape and np.isfinite(pairs.distances).all()
    if not whole or not 0 < versions < len(pairs.same):
        raise EvaluationError(
            f"calibration needs finite distances and both kinds of pairs; {pairs.name!r} has "
            f"{len(pairs.distances)} distances, {versions} versions and {len(pairs.same) - versions} others"
        )
    if pairs.distances[pairs.same].mean() >= pairs.distances[~pairs.same].mean():
        raise EvaluationError(
            f"larger distances are not less probable in {pairs.name!r}, so it cannot be calibrated; give "
            "other data"
        )


def _targets(pairs: Pairs) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Targets, never 0 or 1, so that separable data have a finite solution; and weights that sum to 2.

    The regularisation is Platt's for all pairs together: versions are few, but the many others, none of
    which is as near, make up for that.
    """
    versions = int(pairs.same.sum())
    doubt = 1 / (len(pairs.same) + 2)
    weights = np.where(pairs.same, 1 / versions, 1 / (len(pairs.same) - versions))
    return np.where(pairs.same, 1 - doubt, doubt), weights


def _fit_pieces(
    distances: NDArray[np.float64], targets: NDArray[np.float64], weights: NDArray[np.float64], *, knee: float
) -> tuple[float, NDArray[np.float64]]:
    """The minimum cross-entropy, with its level and slopes: a convex problem for a given knee."""
    beyond = distances - knee
    inputs = np.column_stack([np.ones_like(beyond), np.minimum(beyond, 0), np.maximum(beyond, 0)])

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logits = inputs @ parameters
        entropy = -(targets * log_expit(logits) + (1 - targets) * log_expit(-logits))
        return float(weights @ entropy), (weights * (expit(logits) - targets)) @ inputs

    bounds = [(None, None), (STEEPEST, FLATTEST), (STEEPEST, FLATTEST)]
    found = minimize(loss, np.array([0.0, -5.0, -5.0]), jac=True, method="L-BFGS-B", bounds=bounds)
    return float(found.fun), found.x


def pairs_of_matrix(
    matrix: Matrix,
    evaluation: "Evaluation",
    *,
    name: str,
    generator: np.random.Generator,
    most_others: int = 2_000_000,
) -> Pairs:
    """Collect the pairs of a matrix: each evaluated query with all its versions and some others.

    Recordings that could not be decoded are left out.

    Parameters
    ----------
    matrix : Matrix
        Distances of recordings that the network was not trained on.
    evaluation : Evaluation
        Of this matrix.
    name : str
        Of the data set.
    generator : numpy.random.Generator
        Draws the others if there are more than `most_others`.
    most_others : int
        Approximate number of unrelated pairs to keep.

    Returns
    -------
    Pairs
    """
    others = evaluation.scores.covers.size * (len(matrix.names) - 1) - int(evaluation.scores.covers.sum())
    share = min(1.0, most_others / max(1, others))
    numbers, distances, same = evaluation.labels.numbers, [], []
    for row, position in zip(evaluation.rows, evaluation.scores.positions, strict=True):
        version = numbers == numbers[position]
        kept = version | (generator.random(len(version)) < share)
        kept[position] = False
        kept &= matrix.distances[row] != FAILED
        distances.append(matrix.distances[row][kept])
        same.append(version[kept])
    return Pairs(np.concatenate(distances).astype(np.float64), np.concatenate(same), name)


def _log_odds(prior: float) -> float:
    if not 0 < prior < 1:
        raise UsageError(f"prior {prior}: must be between 0 and 1")
    return float(logit(prior))


def reliability(probabilities: np.ndarray, same: np.ndarray, *, bins: int = 10) -> np.ndarray:
    """Compare predicted and actual shares of versions; they agree if the probabilities are calibrated.

    Parameters
    ----------
    probabilities : float [pairs]
        In [0, 1].
    same : bool [pairs]
        Whether the two are versions of one work.
    bins : int
        Of equal width.

    Returns
    -------
    float64 [bins with pairs, 3]
        Mean probability, share of versions, number of pairs.

    Examples
    --------
    >>> reliability(np.array([0.05, 0.05, 0.95]), np.array([False, False, True])).round(2).tolist()
    [[0.05, 0.0, 2.0], [0.95, 1.0, 1.0]]
    """
    probabilities, same = np.asarray(probabilities, dtype=np.float64), np.asarray(same, dtype=np.float64)
    index = np.minimum((probabilities * bins).astype(np.int64), bins - 1)
    counts = np.bincount(index, minlength=bins)
    sums = [np.bincount(index, weights=values, minlength=bins) for values in (probabilities, same)]
    held = counts > 0
    return np.column_stack([sums[0][held] / counts[held], sums[1][held] / counts[held], counts[held]])
