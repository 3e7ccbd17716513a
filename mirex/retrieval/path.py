"""The path through a long recording: which song plays when, or none of the known ones.

A hidden semi-Markov model over cells of equal length (S.-Z. Yu, "Hidden semi-Markov models", Artificial
Intelligence 174, 2010). A path is a sequence of segments: one cell of "none", or a song for several cells. A
segment's evidence is the log odds that the song plays from its first cell to its last, against "none" in all
of them; that of a path is the sum. A song may follow itself, so a song longer than the longest segment has
several segments. The best path is Viterbi's; the probability of a song in a cell comes from the forward and
backward sums over all paths.

Each segment is independent of the songs before it, so a step costs time linear in the number of songs.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

NONE = -1

Evidence = Mapping[int, NDArray[np.floating]]
"""For each length in cells float [starts, songs], of segments that begin in cell 0, 1, 2 and so on."""


def best_path(evidence: Evidence, *, cells: int) -> NDArray[np.int64]:
    """Find the most likely songs.

    Parameters
    ----------
    evidence : {int: float [starts, songs]}
        Log odds of segments against "none", by their length in cells; segments that would end after the
        last cell are ignored.
    cells : int
        Length of the recording.

    Returns
    -------
    int64 [cells]
        Columns of `evidence`, or NONE.

    Examples
    --------
    >>> evidence = {2: np.array([[-9.0, -9], [5, 6], [4, 7], [-9, -9]]), 3: np.array([[-9.0, -9], [8, 9]])}
    >>> best_path(evidence, cells=5).tolist()
    [-1, 1, 1, 1, -1]
    """
    songs = {length: values.argmax(axis=1) for length, values in evidence.items()}
    tops = {length: values.max(axis=1) for length, values in evidence.items()}
    scores, last = np.zeros(cells + 1), np.ones(cells + 1, np.int64)
    for end in range(1, cells + 1):
        options = {1: scores[end - 1]} | {
            -length: scores[end - length] + top[end - length] for length, top in _ending(tops, end)
        }
        last[end], scores[end] = max(options.items(), key=lambda option: option[1])
    path, end = np.full(cells, NONE, np.int64), cells
    while end > 0:
        start = end - abs(int(last[end]))
        if last[end] < 0:
            path[start:end] = songs[end - start][start]
        end = start
    return path


def posteriors(evidence: Evidence, *, cells: int) -> NDArray[np.float64]:
    """Compute the probability of each song in each cell.

    Parameters
    ----------
    evidence, cells
        As for `best_path`, with at least one length.

    Returns
    -------
    float64 [cells, songs]
        In [0, 1]; the rest of a row to 1 is the probability of "none".
    """
    sums = {length: logsumexp(values, axis=1) for length, values in evidence.items()}
    forward, backward = np.zeros(cells + 1), np.zeros(cells + 1)
    for end in range(1, cells + 1):
        parts = [forward[end - length] + each[end - length] for length, each in _ending(sums, end)]
        forward[end] = logsumexp([forward[end - 1], *parts])
    for start in range(cells - 1, -1, -1):
        fitting = [(n, each) for n, each in sums.items() if start + n <= cells and start < len(each)]
        parts = [backward[start + length] + each[start] for length, each in fitting]
        backward[start] = logsumexp([backward[start + 1], *parts])
    changes = np.zeros((cells + 1, next(iter(evidence.values())).shape[1]))
    for length, values in evidence.items():
        starts = max(0, min(len(values), cells - length + 1))
        outside = forward[:starts] + backward[length : length + starts] - forward[cells]
        chances = np.exp(values[:starts] + outside[:, None])
        changes[:starts] += chances
        changes[length : length + starts] -= chances
    return np.clip(np.cumsum(changes[:cells], axis=0), 0, 1)


def _ending(values: Mapping[int, NDArray[np.floating]], end: int) -> list[tuple[int, NDArray[np.floating]]]:
    """The lengths that have a segment ending just before a cell."""
    return [(n, each) for n, each in values.items() if n <= end and end - n < len(each)]
