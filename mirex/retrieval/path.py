"""The path through a long recording: which song plays when, or none of the known ones.

A hidden Markov model over cells of equal length (L. Rabiner, "A tutorial on hidden Markov models",
Proceedings of the IEEE 77, 1989). States are "none" and the songs. A cell's evidence for a song is a log
likelihood ratio against "none". From one cell to the next a state lasts with a probability that gives it its
expected duration; after it, "none" goes over to any song, and a song to "none" or to any other song, all
songs alike: so a larger collection needs more evidence for each of its songs. The best path is Viterbi's; the
posterior of a state in a cell comes from the forward and backward sums.

All transitions between songs are alike, so each step costs as much as there are songs, not their square.
"""

import dataclasses

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

NONE = -1


@dataclasses.dataclass(frozen=True)
class Transitions:
    """Logarithms of the probabilities of what follows a cell.

    Attributes
    ----------
    stay_none, stay_song : float
        The same again.
    enter : float
        From "none" to a certain song.
    leave, change : float
        From a song to "none", and to a certain other one.
    """

    stay_none: float
    stay_song: float
    enter: float
    leave: float
    change: float


def transitions(*, songs: int, cells_of_song: float, cells_of_none: float) -> Transitions:
    """Transitions for a collection.

    Parameters
    ----------
    songs : int
        In the collection, 1 or more.
    cells_of_song, cells_of_none : float
        Expected durations, above 1.

    Returns
    -------
    Transitions
    """
    end_song, end_none = 1 / cells_of_song, 1 / cells_of_none
    return Transitions(
        stay_none=float(np.log1p(-end_none)),
        stay_song=float(np.log1p(-end_song)),
        enter=float(np.log(end_none / songs)),
        leave=float(np.log(end_song / 2)),
        change=float(np.log(end_song / 2 / songs)),
    )


def best_path(evidence: NDArray[np.float64], steps: Transitions) -> NDArray[np.int64]:
    """The likeliest states.

    Parameters
    ----------
    evidence : float [cells, songs]
        Log likelihood ratios against "none".
    steps : Transitions

    Returns
    -------
    int64 [cells]
        Columns of `evidence`, or NONE.

    Examples
    --------
    >>> steps = transitions(songs=2, cells_of_song=10, cells_of_none=10)
    >>> best_path(np.array([[-9.0, -9], [5, 1], [5, 6], [5, 1], [-9, -9]]), steps).tolist()
    [-1, 0, 0, 0, -1]
    """
    cells, songs = evidence.shape
    came_from = np.full((cells, songs + 1), NONE, np.int64)  # the last column is of "none"
    none, scores = 0.0, steps.enter - steps.stay_none + evidence[0] if cells else np.empty(songs)
    for cell in range(1, cells):
        best = int(scores.argmax()) if songs else NONE
        top = scores[best] if songs else -np.inf
        options = np.stack([scores + steps.stay_song, np.full(songs, none + steps.enter)])
        options = np.vstack([options, np.full(songs, top + steps.change)])
        choice = options.argmax(axis=0)
        came_from[cell, :songs] = np.choose(choice, [np.arange(songs), NONE, best])
        came_from[cell, songs] = best if top + steps.leave > none + steps.stay_none else NONE
        none = max(none + steps.stay_none, top + steps.leave)
        scores = options.max(axis=0, initial=-np.inf) + evidence[cell]
    return _trace(none, scores, came_from)


def _trace(none: float, scores: NDArray[np.float64], came_from: NDArray[np.int64]) -> NDArray[np.int64]:
    cells, songs = len(came_from), len(scores)
    path = np.full(cells, NONE, np.int64)
    state = int(scores.argmax()) if songs and scores.max() > none else NONE
    for cell in range(cells - 1, -1, -1):
        path[cell] = state
        state = int(came_from[cell, state])  # NONE is the last column
    return path


def posteriors(evidence: NDArray[np.float64], steps: Transitions) -> NDArray[np.float64]:
    """Probability of each song in each cell.

    Parameters
    ----------
    evidence, steps
        As for `best_path`.

    Returns
    -------
    float64 [cells, songs]
        In [0, 1]; what a row lacks to 1 is that of "none".
    """
    cells, songs = evidence.shape
    emitted = np.concatenate([evidence, np.zeros((cells, 1))], axis=1)
    forward, backward = np.empty_like(emitted), np.zeros_like(emitted)
    start = np.append(np.full(songs, steps.enter), steps.stay_none)
    for cell in range(cells):
        before = start if cell == 0 else _step(forward[cell - 1], steps, backwards=False)
        forward[cell] = before + emitted[cell]
    for cell in range(cells - 2, -1, -1):
        backward[cell] = _step(backward[cell + 1] + emitted[cell + 1], steps, backwards=True)
    joint = forward + backward
    return np.exp(joint - logsumexp(joint, axis=1, keepdims=True))[:, :songs] if cells else evidence.copy()


def _step(values: NDArray[np.float64], steps: Transitions, *, backwards: bool) -> NDArray[np.float64]:
    """One cell on: logarithms of sums over the states before (or after, backwards)."""
    songs, none = values[:-1], values[-1]
    into, out = (steps.leave, steps.enter) if backwards else (steps.enter, steps.leave)
    everything = logsumexp(songs) if len(songs) else -np.inf
    # `change` leads to any song, the same one too: that much is far below `stay_song`.
    to_songs = np.logaddexp(
        np.logaddexp(songs + steps.stay_song, none + into), np.full(len(songs), everything + steps.change)
    )
    to_none = np.logaddexp(none + steps.stay_none, everything + out)
    return np.append(to_songs, to_none)
