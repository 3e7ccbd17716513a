"""Windows: overlapping parts of a recording, each embedded like a recording of its own.

The windows of a song in an index and those of a long recording that is scanned are embedded in the same way,
so that they can be compared with each other and with whole recordings.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mirex._typing import Array, Columns
from mirex.extraction.store import Store
from mirex.model.weights import Sealed

BLOCK = 16  # windows kept in the store together: so many are lost at most when a run ends early


@dataclasses.dataclass(frozen=True)
class Layout:
    """Lengths and hop of windows.

    Attributes
    ----------
    seconds : tuple of float
        Their lengths.
    hop : float
        Seconds from the start of one to the start of the next of the same length.

    Examples
    --------
    >>> str(Layout((30, 60), 15))
    '30+60 s every 15 s'
    """

    seconds: tuple[float, ...]
    hop: float

    def __str__(self) -> str:
        return f"{'+'.join(f'{each:g}' for each in self.seconds)} s every {self.hop:g} s"

    def step(self, *, seconds_per_column: float) -> int:
        """Convert the hop to whole columns.

        Parameters
        ----------
        seconds_per_column : float
            Duration of a column.

        Returns
        -------
        int
            1 or more.
        """
        return max(1, round(self.hop / seconds_per_column))

    def spans(self, columns: int, *, seconds_per_column: float) -> NDArray[np.int64]:
        """Lay out the windows of a recording.

        The last window of each length ends where the recording ends; a recording shorter than a window is one
        window.

        Parameters
        ----------
        columns : int
            Of the recording.
        seconds_per_column : float
            Duration of a column.

        Returns
        -------
        int64 [windows, 2]
            First column of each window and one past its last, in order of their starts.

        Examples
        --------
        >>> Layout((4, 8), 2).spans(7, seconds_per_column=1).tolist()
        [[0, 4], [0, 7], [2, 6], [3, 7]]
        """
        hop = self.step(seconds_per_column=seconds_per_column)
        found = set()
        for seconds in self.seconds:
            length = min(columns, max(1, round(seconds / seconds_per_column)))
            starts = {*range(0, columns - length + 1, hop), columns - length}
            found |= {(start, start + length) for start in starts}
        return np.array(sorted(found), np.int64).reshape(-1, 2)


OF_SONGS = Layout((90.0,), 45.0)
"""For songs in an index: the length that the network was trained with."""
OF_SCANS = Layout((60.0, 90.0), 15.0)
"""For scanning long recordings. The means of windows represent longer segments; with shorter windows, which
rarely find the right song, fewer songs were found correctly."""


def embed_spans(
    columns: Columns,
    spans: NDArray[np.int64],
    *,
    sealed: Sealed,
    store: Store | None = None,
    content: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> Array:
    """Embed parts of a recording.

    Parameters
    ----------
    columns : float32 [84, columns]
        Of the whole recording.
    spans : int [windows, 2]
        First column of each part and one past its last.
    sealed : Sealed
        Weights.
    store : Store, optional
        Of windows of this layout (`window_store`); those that it has are not computed again.
    content : str
        SHA-256 of the recording's file, under which the store keeps its windows.
    progress : callable, optional
        Called with (done, total) windows.

    Returns
    -------
    float32 [windows, size]
        Rows of unit length.
    """
    from mirex.model.embedding import embed

    result = np.empty((len(spans), sealed.settings.embedding_size), np.float32)
    if progress:
        progress(0, len(spans))
    for start in range(0, len(spans), BLOCK):
        part, key = spans[start : start + BLOCK], f"{content} {start}"
        found = store.get(key) if store else None
        if found is None or found.shape != (len(part), result.shape[1]):
            found = embed([np.ascontiguousarray(columns[:, a:b]) for a, b in part], sealed=sealed)
            if store:
                store.put(key, found)
        result[start : start + BLOCK] = found
        if progress:
            progress(start + len(part), len(spans))
    return result


def window_store(scratch: str, layout: Layout, *, front_end: str, weights: str, cqt: str) -> Store:
    """Open the store of windows of one layout in a scratch folder.

    Parameters
    ----------
    scratch : str
        The folder.
    layout : Layout
        Of the windows.
    front_end, weights, cqt : str
        Fingerprints of front end and weights, and the CQT implementation.

    Returns
    -------
    Store
    """
    return Store(scratch, front_end=front_end, weights=f"{weights}, windows of {layout}", cqt=cqt)
