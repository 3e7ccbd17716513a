"""Hubness: recordings that are near everything, and unrelated pairs that are close together.

k-occurrence (M. Radovanovic, A. Nanopoulos, M. Ivanovic, "Hubs in space", JMLR 11, 2010): the number of
queries that have a recording among their k nearest, without the query itself. Without hubs it is about the
same for every recording. The skewness of its distribution measures the departure from that: 0 is even, above
1 means that a few recordings come before many others. Ties keep the order of the list.

Unrelated pairs, for choosing a threshold: of the pairs of a query and a reference from different cliques,
the share that is nearer than a distance. A reference without a clique is unrelated to all.
"""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import skew

from mirex.evaluation.evaluate import row_blocks
from mirex.formats.cliques import NO_CLIQUE
from mirex.formats.matrix import Matrix

LIMITS = (0.2, 0.3, 0.45)
NEIGHBOURS = 10
HUBS = 10


@dataclasses.dataclass(frozen=True)
class Hubness:
    """To what extent some recordings are near everything.

    Attributes
    ----------
    pairs : int
        Pairs of a query and an unrelated reference; in a square matrix each pair of recordings counts twice.
    nearer : dict of float to int
        How many of them are nearer than each distance.
    neighbours : int
        k of the k-occurrence: NEIGHBOURS, or all other recordings if there are fewer.
    skewness : float
        Of the k-occurrence over the recordings; 0 if it is the same for all.
    hubs : list of (str, int)
        The recordings with the largest k-occurrence: name and k-occurrence.
    """

    pairs: int
    nearer: dict[float, int]
    neighbours: int
    skewness: float
    hubs: list[tuple[str, int]]

    def share(self, limit: float) -> float:
        """Compute the share of unrelated pairs that are nearer than a limit.

        Parameters
        ----------
        limit : float
            One of the limits: a key of `nearer`.

        Returns
        -------
        float
            In [0, 1]; 0 without pairs.
        """
        return self.nearer[limit] / max(self.pairs, 1)


def hubness(
    matrix: Matrix,
    *,
    labels: NDArray[np.int64],
    limits: tuple[float, ...] = LIMITS,
    neighbours: int = NEIGHBOURS,
    hubs: int = HUBS,
) -> Hubness:
    """Count unrelated pairs and k-occurrences of a matrix, block by block.

    Parameters
    ----------
    matrix : Matrix
        Of any system; free of NaN.
    labels : int64 [names]
        The clique of each recording, NO_CLIQUE for none.
    limits : tuple of float
        Distances below which unrelated pairs are counted.
    neighbours : int
        k of the k-occurrence.
    hubs : int
        How many recordings to name.

    Returns
    -------
    Hubness
    """
    positions = np.asarray(matrix.query_positions, np.int64)
    count = len(matrix.names)
    k = min(neighbours, count - 1)
    occurrence, pairs, nearer = np.zeros(count, np.int64), 0, np.zeros(len(limits), np.int64)
    for part in row_blocks(np.arange(len(positions)), columns=count):
        block = matrix.distances[part]
        own = positions[part]
        same = (labels[own][:, None] == labels) & (labels != NO_CLIQUE)
        same[np.arange(len(part)), own] = True
        related = block[same]
        pairs += block.size - related.size
        # Related pairs are few: counting all pairs and subtracting these is faster than selecting the others.
        nearer += [np.count_nonzero(block < limit) - np.count_nonzero(related < limit) for limit in limits]
        if k:
            occurrence += np.bincount(_nearest(block, own=own, count=k), minlength=count)
    order = np.argsort(-occurrence, kind="stable")[:hubs]
    return Hubness(
        pairs=pairs,
        nearer=dict(zip(limits, nearer.tolist(), strict=True)),
        neighbours=k,
        skewness=float(skew(occurrence)) if np.ptp(occurrence) else 0.0,
        hubs=[(matrix.names[index], int(occurrence[index])) for index in order if occurrence[index]],
    )


def _nearest(block: NDArray[np.floating], *, own: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """int64 [q * count]: the `count` nearest references of each query, without itself."""
    rows = np.arange(len(own))
    values = block.copy()
    values[rows, own] = np.inf
    last = np.partition(values, count - 1, axis=1)[:, count - 1 : count]
    chosen = values <= last
    chosen[rows, own] = False  # others may be infinitely far too
    for row in np.flatnonzero(np.count_nonzero(chosen, axis=1) > count):
        equal = np.flatnonzero(chosen[row] & (values[row] == last[row]))
        surplus = np.count_nonzero(chosen[row]) - count
        chosen[row, equal[-surplus:]] = False
    return np.nonzero(chosen)[1]


def hubness_json(found: Hubness) -> dict[str, Any]:
    """Turn the figures into a dictionary for `json.dumps`.

    Parameters
    ----------
    found : Hubness
        Of a matrix.

    Returns
    -------
    dict
    """
    return {
        "unrelated_pairs": found.pairs,
        "unrelated_pairs_nearer": {str(limit): number for limit, number in found.nearer.items()},
        "k": found.neighbours,
        "k_occurrence_skewness": found.skewness,
        "hubs": [{"recording": name, "k_occurrence": number} for name, number in found.hubs],
    }


def hubness_facts(found: Hubness) -> list[tuple[str, str]]:
    """Summarise unrelated pairs and hubs in a few lines.

    Parameters
    ----------
    found : Hubness
        Of a matrix.

    Returns
    -------
    list of (str, str)
        Name and value of each line.
    """
    near = ", ".join(
        f"{number} ({_percent(found.share(limit))}) nearer than {limit:g}"
        for limit, number in found.nearer.items()
    )
    k = found.neighbours
    return [
        ("unrelated pairs", f"{found.pairs}, of them {near}"),
        (
            f"skewness of {k}-occurrence",
            f"{found.skewness:.2f} (0: even)",
        ),
        (f"most often among the {k} nearest", ", ".join(f"{name} ({number})" for name, number in found.hubs)),
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
