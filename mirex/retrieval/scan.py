"""Scan: the songs that occur in a long recording, where, and how sure that is.

The recording's windows (`mirex.retrieval.windows`) are compared with the songs of an index: with the song's
own windows where the index has them, of which the nearest counts, so that a window meets the part of the song
that it plays; else with the song as a whole. The evidence for a song in a cell of `Layout.hop` seconds is the
mean over all windows that cover the cell, weighted by how near to the window's middle the cell is, of

    slope * (cosine similarity - threshold),

a log likelihood ratio against "none of them". Windows that overlap say nearly the same, and so do those of
one song: the slope is that of a logistic regression on windows, lowered until the confidences were true. The
path through songs and "none" and its confidence are those of `mirex.retrieval.path`.

Slope and threshold were chosen with the shipped network on sets made of the validation recordings; see
`tests/benchmarks/scan_accuracy.py`.
"""

import dataclasses
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mirex._typing import Array
from mirex.errors import UsageError
from mirex.extraction.store import Store, content_hash
from mirex.features.short import is_short, seconds_of_sound, warning
from mirex.features.streaming import Heard, columns_of_file
from mirex.features.trimming import with_silence
from mirex.logs import printable
from mirex.retrieval.index import Index, products
from mirex.retrieval.indexing import fingerprints
from mirex.retrieval.path import NONE, best_path, posteriors, transitions
from mirex.retrieval.windows import OF_SCANS, Layout, embed_spans, window_store
from mirex.settings import FrontEndSettings

if TYPE_CHECKING:
    from mirex.model.weights import Sealed

Progress = Callable[[int, int], None]

log = logging.getLogger(__name__)

_MOST_PRODUCTS = 1 << 24  # held at a time: 64 MB
_OF_WINDOW = 5  # songs nearest to a window become candidates for the path
_MOST_CANDIDATES = 2000
_LEAST_WEIGHT = 0.05  # of a cell at the end of a window, before it is squared


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What a similarity is worth, and how long things last.

    Attributes
    ----------
    slope : float
        Log likelihood ratio per unit of cosine similarity.
    threshold : float
        Cosine similarity that speaks neither for a song nor against it.
    seconds_of_song, seconds_of_none : float
        Expected durations of a song, and of what is none of the songs.
    """

    slope: float = 14.5
    threshold: float = 0.22
    seconds_of_song: float = 180.0
    seconds_of_none: float = 60.0


@dataclasses.dataclass(frozen=True)
class Occurrence:
    """A song in a recording.

    Attributes
    ----------
    song : str
        Its path in the index.
    start, end : float
        Seconds, to some 15 s.
    confidence : float
        Probability that the song is the one that plays, the mean over the span.
    runner_up : str or None
        The song that is likeliest beside it; None in an index of one song.
    runner_up_confidence : float
        Likewise.
    """

    song: str
    start: float
    end: float
    confidence: float
    runner_up: str | None
    runner_up_confidence: float


@dataclasses.dataclass(frozen=True)
class Scan:
    """What was found in a recording.

    Attributes
    ----------
    recording : str
        Its path.
    seconds : float
        Its length, silence included.
    occurrences : tuple of Occurrence
        In order of time.
    songs : int
        With which it was compared.
    weights : str
        Fingerprint.
    """

    recording: str
    seconds: float
    occurrences: tuple[Occurrence, ...]
    songs: int
    weights: str


def scan(
    recording: str,
    *,
    index: Index,
    scratch: str | os.PathLike[str] | None = None,
    at_least: float = 0.5,
    layout: Layout = OF_SCANS,
    evidence: Evidence | None = None,
    weights: str | os.PathLike[str] | None = None,
    device: str = "auto",
    cqt: str | None = None,
    backend: str | None = None,
    progress: Progress | None = None,
) -> Scan:
    """Find the songs of an index in a long recording.

    Parameters
    ----------
    recording : str
        Path. Memory does not hold its signal, only its columns (3 MB an hour) and windows' embeddings. In one
        of less than 20 s of sound nothing is named, with a warning.
    index : Index
        Made with the same weights and front end. Entries with the recording's own content are left out.
    scratch : path-like, optional
        Folder in which columns and windows are kept, so that an interrupted scan goes on.
    at_least : float
        Confidence, in [0, 1], below which an occurrence is not named.
    layout : Layout
        Of the windows.
    evidence : Evidence, optional
        Other than `Evidence()`.
    weights, device, cqt, backend
        As for `mirex.extract`, but `cqt` and `backend` are those that the index was made with unless given.
    progress : callable, optional
        Called with what is done and all, each time from 0 on: bytes of the file while it is decoded, twice;
        then windows.

    Returns
    -------
    Scan

    Raises
    ------
    AudioError
        If the recording cannot be decoded.
    SettingsMismatch
        If the index was made with other weights, another front end or another backend.
    UsageError
        For `at_least` outside [0, 1].
    MirexError
        If the index's backend is not installed.
    """
    if not 0 <= at_least <= 1:
        raise UsageError(f"the confidence must lie between 0 and 1, found {at_least}")
    cqt = cqt or index.fingerprints["cqt"]
    sealed = _sealed_like(index, weights, device=device, cqt=cqt, backend=backend)
    marks = {"front_end": sealed.front_end.fingerprint(), "weights": sealed.fingerprint, "cqt": cqt}
    content = content_hash(recording)
    with tempfile.TemporaryDirectory(prefix="mirex-") as temporary:
        folder = os.fspath(scratch or temporary)
        columns, silences = _heard(
            recording, content, Store(folder, **marks), sealed.front_end, cqt, progress
        )
        second = sealed.front_end.seconds_per_column
        length = columns.shape[1] * second + float(np.diff(silences).sum())
        sound = seconds_of_sound(columns, front_end=sealed.front_end, settings=sealed.settings)
        if is_short(sound):
            log.warning("%s: %s", printable(recording), warning(sound))
            return Scan(recording, length, (), len(index), sealed.fingerprint)
        spans = layout.spans(columns.shape[1], seconds_per_column=second)
        store = window_store(folder, layout, **marks)
        vectors = embed_spans(
            columns, spans, sealed=sealed, store=store, content=_key(content), progress=progress
        )
    found = occurrences(
        vectors, spans * second, index=index, content=content, layout=layout, evidence=evidence
    )
    kept = [each for each in found if each.confidence >= at_least]
    placed = tuple(part for each in kept for part in _placed(each, silences, hop=layout.hop))
    return Scan(recording, length, placed, len(index), sealed.fingerprint)


def _sealed_like(
    index: Index, weights: str | os.PathLike[str] | None, *, device: str, cqt: str, backend: str | None
) -> "Sealed":
    """Weights whose embeddings can be compared with the index's, by the backend asked for or the index's."""
    from mirex.extraction.extract import resolve_device
    from mirex.model import backend as backends
    from mirex.model.weights import load

    backend = backend or backends.backend_of(index.fingerprints["weights"])
    backends.check(backend, device=device)
    index.check(fingerprints(weights, cqt=cqt, backend=backend))
    device = resolve_device(device) if backend == "torch" else "cpu"
    return load(Path(weights) if weights else None, device=device, backend=backend)


def _heard(
    recording: str,
    content: str,
    store: Store,
    settings: FrontEndSettings,
    cqt: str,
    progress: Progress | None,
) -> Heard:
    """Columns and silences, from the store or put there; rounded either way, so that both are the same."""
    key = _key(content)
    columns, silences = store.get(key, kind="columns"), store.get(f"{key}, silences")
    if columns is None or silences is None:
        found = columns_of_file(recording, settings=settings, implementation=cqt, progress=progress)
        columns, silences = found.columns.astype(np.float16), found.silences.astype(np.float32)
        store.put(key, columns, kind="columns")
        store.put(f"{key}, silences", silences)
    return Heard(columns.astype(np.float32), silences.astype(np.float64))


def _key(content: str) -> str:
    """Of what the store keeps of a scan; `mirex.extract` keeps columns that differ in the last bits."""
    return f"{content} in pieces"


def _placed(each: Occurrence, silences: NDArray[np.float64], *, hop: float) -> list[Occurrence]:
    """An occurrence in what sounds, at its place in the recording.

    It is parted at a silence of more than a cell: what is left of less than half a cell is no part.
    """
    lengths = np.diff(silences)[:, 0]
    places = silences[:, 0] - (np.cumsum(lengths) - lengths)  # in what sounds
    inside = [place for place in places[lengths > hop].tolist() if each.start < place < each.end]
    edges = np.array([each.start, *inside, each.end])
    starts = with_silence(edges[:-1], silences).tolist()
    ends = with_silence(edges[1:], silences, ends=True).tolist()
    return [
        dataclasses.replace(each, start=start, end=end)
        for start, end in zip(starts, ends, strict=True)
        if not inside or end - start >= hop / 2
    ]


def occurrences(
    vectors: Array,
    seconds: NDArray[np.floating],
    *,
    index: Index,
    content: str | None = None,
    layout: Layout = OF_SCANS,
    evidence: Evidence | None = None,
) -> list[Occurrence]:
    """The songs of an index in a recording that is known by its windows.

    Parameters
    ----------
    vectors : float32 [windows, size]
        Their embeddings.
    seconds : float [windows, 2]
        Start and end of each.
    index : Index
    content : str, optional
        SHA-256 of the recording's file, hexadecimal: songs with the same are left out.
    layout : Layout
        Of the windows; its hop is the length of a cell.
    evidence : Evidence, optional
        Other than `Evidence()`.

    Returns
    -------
    list of Occurrence
        In order of time.
    """
    evidence = evidence or Evidence()
    songs = _candidates(vectors, index, content)
    if not len(songs) or not len(vectors):
        return []
    similarities = _similarities(vectors, index, songs)
    cells = cell_evidence(similarities, seconds, hop=layout.hop, evidence=evidence)
    steps = transitions(
        songs=len(index),
        cells_of_song=max(1.5, evidence.seconds_of_song / layout.hop),
        cells_of_none=max(1.5, evidence.seconds_of_none / layout.hop),
    )
    path, chances = best_path(cells, steps), posteriors(cells, steps)
    names = [index.names[row] for row in songs]
    return _runs(path, chances, names, hop=layout.hop, end=float(seconds.max()))


def _candidates(vectors: Array, index: Index, content: str | None) -> NDArray[np.int64]:
    """Rows of the songs that are among the nearest of any window; the most similar if they are many."""
    best = np.full(len(index), -np.inf, np.float32)
    rows = len(index) if index.windows is None else len(index.windows) + len(index)
    step = max(1, _MOST_PRODUCTS // max(1, rows))
    for start in range(0, len(vectors), step):
        found = _similarities(vectors[start : start + step], index, None)
        if content is not None:
            found[:, index.rows_of(content)] = -np.inf
        nearest = np.argpartition(-found, min(_OF_WINDOW, len(index) - 1), axis=1)[:, :_OF_WINDOW]
        np.maximum.at(best, nearest, np.take_along_axis(found, nearest, axis=1))
    order = np.argsort(-best, kind="stable")[:_MOST_CANDIDATES]
    return np.sort(order[np.isfinite(best[order])])


def _similarities(vectors: Array, index: Index, songs: NDArray[np.int64] | None) -> NDArray[np.float32]:
    """Cosine similarity of windows to songs (None: all), float32 [windows, songs]."""
    whole = index.embeddings if songs is None else index.embeddings[songs]
    found = products(vectors, whole)
    if index.windows is None:
        return found
    owners = np.asarray(index.window_song)
    if songs is None:
        parts, number = index.windows, np.arange(len(index))
    else:
        parts, number = index.windows[np.isin(owners, songs)], np.full(len(index), NONE)
        number[songs] = np.arange(len(songs))
        owners = owners[np.isin(owners, songs)]
    if not len(owners):
        return found
    starts = np.flatnonzero(np.diff(owners, prepend=owners[0] + 1) != 0)
    found[:, number[owners[starts]]] = np.maximum.reduceat(products(vectors, parts), starts, axis=1)
    return found


def cell_evidence(
    similarities: NDArray[np.float32], seconds: NDArray[np.floating], *, hop: float, evidence: Evidence
) -> NDArray[np.float64]:
    """Evidence in each cell of time.

    Parameters
    ----------
    similarities : float32 [windows, songs]
    seconds : float [windows, 2]
        Start and end of each window.
    hop : float
        Length of a cell in seconds.
    evidence : Evidence

    Returns
    -------
    float64 [cells, songs]
        Log likelihood ratios of each song against none of them; 0 where no window lies.
    """
    cells = max(1, round(float(seconds.max()) / hop))
    sums, weights = np.zeros((cells, similarities.shape[1])), np.zeros(cells)
    for row, (start, end) in zip(similarities, seconds / hop, strict=True):
        first = min(round(start), cells - 1)
        covered = np.arange(first, min(cells, max(first + 1, round(end))))
        aside = np.abs(covered + 0.5 - (start + end) / 2) / ((end - start) / 2)
        weight = np.maximum(_LEAST_WEIGHT, 1 - aside) ** 2
        sums[covered] += np.outer(weight, evidence.slope * (row.astype(np.float64) - evidence.threshold))
        weights[covered] += weight
    return sums / np.where(weights == 0, 1, weights)[:, None]


def _runs(
    path: NDArray[np.int64], chances: NDArray[np.float64], names: list[str], *, hop: float, end: float
) -> list[Occurrence]:
    """Cells in a row with one song, as occurrences."""
    found = []
    edges = [0, *(np.flatnonzero(np.diff(path)) + 1).tolist(), len(path)]
    for first, past in zip(edges[:-1], edges[1:], strict=True):
        song = int(path[first])
        if song == NONE:
            continue
        means = chances[first:past].mean(axis=0)
        others = np.where(np.arange(len(means)) == song, -1.0, means)
        other = int(others.argmax()) if len(means) > 1 else None
        stop = end if past == len(path) else past * hop
        found.append(
            Occurrence(
                names[song],
                first * hop,
                stop,
                float(means[song]),
                None if other is None else names[other],
                0.0 if other is None else float(means[other]),
            )
        )
    return found
