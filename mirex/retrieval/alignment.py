"""Cross-similarity of two recordings: where, and in which key, do they match?

Algorithm (J. Serra, X. Serra, R. Andrzejak, "Cross recurrence quantification for cover song
identification", New Journal of Physics 11, 2009):

1. Fold the CQT columns to 12 pitch classes; each column is centred and scaled to unit length.
2. Transpose the second recording by the optimal transposition index: of the few circular shifts at which
   the two mean chroma vectors agree best, the one with the longest path (step 5).
3. Compare stacks of `context` consecutive columns by their correlation.
4. Mark a cell if each of the two stacks is among the other's nearest (`neighbours`, a share).
5. Find the longest path of marked cells, by dynamic programming (Qmax): steps of (1, 1), (1, 2) and (2, 1)
   allow tempo ratios from 1/2 to 2; a gap of unmarked cells costs a penalty to open and to extend.

This only illustrates a match. The distance comes from the embeddings alone.
"""

import dataclasses

import numpy as np

from mirex.errors import AudioError
from mirex.settings import BINS_PER_OCTAVE

GAP_OPENED, GAP_EXTENDED = 5.0, 0.5
"""Penalty of an unmarked cell on the path, after a marked and after an unmarked one; in marked cells."""
STEPS = ((1, 1), (2, 1), (1, 2))
SHORTEST_SLOPE = 16
"""Minimum length of a path, in cells, for a tempo ratio."""


@dataclasses.dataclass(frozen=True)
class CrossSimilarity:
    """How two recordings match.

    Attributes
    ----------
    similarity : float32 [m, n]
        In [-1, 1]; cell (i, j) compares the stacks that begin at i and j.
    marked : bool [m, n]
        Mutual neighbours.
    path : int64 [k, 2]
        Cells (i, j) of the best path, ascending; k >= 0.
    transposition : int
        Semitones by which the second recording is shifted up to match the first, -5 to 6.
    columns_per_cell : int
        CQT columns averaged into one cell; 1 unless a recording is very long.
    context : int
        Cells in a stack.
    """

    similarity: np.ndarray
    marked: np.ndarray
    path: np.ndarray
    transposition: int
    columns_per_cell: int
    context: int

    def matching_parts(self) -> tuple[tuple[int, int], tuple[int, int]] | None:
        """Find the parts of the recordings that match.

        Returns
        -------
        ((int, int), (int, int)) or None
            First CQT column of each recording, and one past its last. None if there is no match.
        """
        if len(self.path) == 0:
            return None
        first, last = self.path[0].tolist(), (self.path[-1] + self.context).tolist()
        scale = self.columns_per_cell
        return (first[0] * scale, last[0] * scale), (first[1] * scale, last[1] * scale)

    def tempo_ratio(self) -> float | None:
        """Measure how many times as fast as the first the second recording is, over the match.

        This is the Theil-Sen slope of the path, which is robust against single detours.

        Returns
        -------
        float or None
            None if there is no match, or if it is too short.
        """
        if len(self.path) < SHORTEST_SLOPE:
            return None
        # Between cells far enough apart that steps of 1 and 2 have averaged out.
        apart = len(self.path) // 2
        rows, columns = (self.path[apart:] - self.path[:-apart]).T
        return float(np.median(rows / columns))


@dataclasses.dataclass(frozen=True)
class Match:
    """The longest match of two recordings, in musical units.

    Attributes
    ----------
    first_start, first_end, second_start, second_end : float
        Seconds.
    semitones : int
        By which the second recording must be shifted up to match the first, -5 to 6.
    tempo_ratio : float or None
        How many times as fast the second is; None if the match is too short.
    """

    first_start: float
    first_end: float
    second_start: float
    second_end: float
    semitones: int
    tempo_ratio: float | None


def match(result: CrossSimilarity, *, seconds_per_column: float) -> Match | None:
    """Describe the longest match in musical units.

    Parameters
    ----------
    result : CrossSimilarity
        Of the two recordings.
    seconds_per_column : float
        Of the CQT columns.

    Returns
    -------
    Match or None
        None if there is none.
    """
    parts = result.matching_parts()
    if parts is None:
        return None
    (a, b), (c, d) = ((start * seconds_per_column, end * seconds_per_column) for start, end in parts)
    return Match(a, b, c, d, result.transposition, result.tempo_ratio())


def cross_similarity(
    first: np.ndarray,
    second: np.ndarray,
    *,
    context: int = 8,
    neighbours: float = 0.05,
    transpositions: int = 3,
    max_cells: int = 1500,
) -> CrossSimilarity:
    """Compare two recordings.

    Parameters
    ----------
    first, second : float32 [84, columns]
        CQT magnitudes from C1 upwards, at least one column.
    context : int
        Cells in a stack, cut to the shorter recording.
    neighbours : float
        Share of the nearest stacks that count as neighbours, in (0, 1].
    transpositions : int
        How many to try, 1 to 12.
    max_cells : int
        Longer recordings are averaged in time, both by the same factor, until each has at most this many
        cells.

    Returns
    -------
    CrossSimilarity

    Raises
    ------
    AudioError
        If a recording has no column.

    Examples
    --------
    >>> columns = np.random.default_rng(0).random((84, 60)).astype(np.float32)
    >>> found = cross_similarity(columns, columns)
    >>> found.transposition
    0
    """
    step = -(-max(first.shape[1], second.shape[1]) // max_cells)
    chroma, other = (fold(average_columns(columns, step=step)) for columns in (first, second))
    shifts = likely_transpositions(chroma, other)[:transpositions]
    context = min(context, chroma.shape[1], other.shape[1])
    stacks = _stack(_unit_columns(chroma), context=context)
    best, best_score = None, -1.0
    for shift in shifts.tolist():
        shifted = _stack(_unit_columns(np.roll(other, shift, axis=0)), context=context)
        similarity = (stacks.T @ shifted / context).astype(np.float32)
        marked = mutual_neighbours(similarity, share=neighbours)
        path, score = longest_path(marked)
        if score > best_score:
            semitones = (shift + 5) % BINS_PER_OCTAVE - 5
            best, best_score = CrossSimilarity(similarity, marked, path, semitones, step, context), score
    assert best is not None  # a path's score is 0 or more
    return best


def average_columns(columns: np.ndarray, *, step: int) -> np.ndarray:
    """Average consecutive columns.

    Parameters
    ----------
    columns : float [bins, columns]
        At least one column.
    step : int
        How many to average, 1 or more; the last mean is over the remainder.

    Returns
    -------
    float [bins, ceil(columns / step)]

    Raises
    ------
    AudioError
        If there is no column.
    """
    starts = np.arange(0, columns.shape[1], step)
    if len(starts) == 0:
        raise AudioError("a recording without any columns cannot be compared")
    sizes = np.diff(np.append(starts, columns.shape[1]))
    return np.add.reduceat(columns, starts, axis=1) / sizes


def fold(columns: np.ndarray) -> np.ndarray:
    """Sum magnitudes over octaves.

    Parameters
    ----------
    columns : float [84, columns]
        12 bins per octave from C1.

    Returns
    -------
    float [12, columns]
        Row 0 is C.

    Examples
    --------
    >>> tone = np.zeros((84, 1)); tone[[9, 21]] = 0.5  # A1 and A2
    >>> fold(tone)[:, 0].tolist()
    [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0]
    """
    return columns.reshape(-1, BINS_PER_OCTAVE, columns.shape[1]).sum(axis=0)


def likely_transpositions(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Order all shifts by how well the mean chromas agree, the best first.

    Parameters
    ----------
    first, second : float [12, columns]
        Pitch classes.

    Returns
    -------
    int64 [12]
        0 to 11: semitones by which to roll `second` upwards. Ties keep their order.

    Examples
    --------
    >>> chroma = np.eye(12)[:, [0, 4, 7]]  # C major
    >>> likely_transpositions(np.roll(chroma, 2, axis=0), chroma)[0].item()
    2
    """
    profile, other = _unit_columns(first).mean(axis=1), _unit_columns(second).mean(axis=1)
    agreement = [profile @ np.roll(other, shift) for shift in range(BINS_PER_OCTAVE)]
    return np.argsort(-np.array(agreement).round(9), kind="stable")


def mutual_neighbours(similarity: np.ndarray, *, share: float) -> np.ndarray:
    """Mark cells that are among the most similar of both their row and their column.

    Parameters
    ----------
    similarity : float [m, n]
        Of each stack of one recording to each of the other.
    share : float
        Share of a row or column that counts as most similar, in (0, 1]; at least one cell.

    Returns
    -------
    bool [m, n]
        Cells without similarity (0 or less, as for silence) are never marked.
    """
    rows, columns = similarity.shape
    by_row = np.partition(similarity, -max(1, round(share * columns)), axis=1)
    by_column = np.partition(similarity, -max(1, round(share * rows)), axis=0)
    row_limit = by_row[:, [-max(1, round(share * columns))]]
    column_limit = by_column[[-max(1, round(share * rows))], :]
    return (similarity >= row_limit) & (similarity >= column_limit) & (similarity > 0)


def longest_path(marked: np.ndarray) -> tuple[np.ndarray, float]:
    """Find the best local path through marked cells.

    A marked cell adds 1 to the best of its predecessors at the steps of `STEPS`. An unmarked one subtracts
    `GAP_OPENED` if the predecessor is marked, otherwise `GAP_EXTENDED`; the path ends at a score of 0.

    Parameters
    ----------
    marked : bool [m, n]
        Of `mutual_neighbours`.

    Returns
    -------
    path : int64 [k, 2]
        Cells (row, column), ascending.
    score : float
        Of the path, 0 or more.

    Examples
    --------
    >>> path, score = longest_path(np.eye(3, dtype=bool))
    >>> path.tolist(), score
    ([[0, 0], [1, 1], [2, 2]], 3.0)
    """
    rows, columns = marked.shape
    # Two rows and two columns of zeros precede the matrix, so that every predecessor exists.
    scores = np.zeros((rows + 2, columns + 2))
    penalties = np.full((rows + 2, columns + 2), GAP_EXTENDED)
    penalties[2:, 2:][marked] = GAP_OPENED
    came_by = np.zeros((rows, columns), dtype=np.int8)
    for row in range(rows):
        cells = [(row + 2 - up, slice(2 - left, columns + 2 - left)) for up, left in STEPS]
        gains = np.stack([np.where(marked[row], 1.0, -penalties[cell]) + scores[cell] for cell in cells])
        came_by[row] = gains.argmax(axis=0)
        scores[row + 2, 2:] = np.maximum(0.0, gains.max(axis=0))
    return _trace(scores[2:, 2:], came_by), float(scores.max())


def _trace(scores: np.ndarray, came_by: np.ndarray) -> np.ndarray:
    row, column = np.unravel_index(scores.argmax(), scores.shape)
    path = []
    while row >= 0 and column >= 0 and scores[row, column] > 0:
        path.append((row, column))
        up, left = STEPS[came_by[row, column]]
        row, column = row - up, column - left
    return np.array(path[::-1], dtype=np.int64).reshape(-1, 2)


def _unit_columns(chroma: np.ndarray) -> np.ndarray:
    """Centre each column and scale it to unit length; columns without contrast become zero."""
    centred = chroma - chroma.mean(axis=0)
    lengths = np.linalg.norm(centred, axis=0)
    # Far below the loudest column there is only noise: treat it as silence.
    audible = lengths > 1e-4 * lengths.max(initial=0.0)
    return np.where(audible, centred / np.where(audible, lengths, 1.0), 0.0)


def _stack(chroma: np.ndarray, *, context: int) -> np.ndarray:
    """[12 context, columns - context + 1]: each column followed by the next context - 1."""
    windows = np.lib.stride_tricks.sliding_window_view(chroma, context, axis=1)
    return np.ascontiguousarray(windows.transpose(0, 2, 1)).reshape(-1, windows.shape[1])
