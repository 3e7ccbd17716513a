"""Scan: which songs occur in a long recording, where, and how certain that is.

Segments of the recording of one to four minutes, one every `Layout.hop` seconds for each length, are compared
with the songs of an index. If the index has windows of a song, the nearest of them counts, so that a segment
is compared with the part of the song that it plays; otherwise the song as a whole. A segment of a window's
length (`mirex.retrieval.windows`) is embedded; a longer one is the mean of its windows. The evidence that a
song plays from one end of a segment to the other, against none of the songs, is given as log odds,

    slope * (cosine similarity - background - threshold) - log(songs in the index).

The background is the mean similarity of the songs that follow the nearest one: some music is near
everything. The path through songs and "none" and its confidence come from `mirex.retrieval.path`.

The constants were chosen with the shipped network on sets made of one half of the validation recordings'
works; `tests/benchmarks/scan_accuracy.py` measures on the other half.
"""

import dataclasses
import logging
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mirex._typing import Array
from mirex.errors import UsageError
from mirex.extraction.store import Store, content_hash
from mirex.features.audio import named
from mirex.features.short import is_short, seconds_of_sound, warning
from mirex.features.streaming import Heard, columns_of_file
from mirex.features.trimming import with_silence
from mirex.logs import printable
from mirex.retrieval.index import Index, products
from mirex.retrieval.indexing import fingerprints
from mirex.retrieval.path import NONE, best_path, posteriors
from mirex.retrieval.windows import OF_SCANS, Layout, embed_spans, window_store
from mirex.settings import FrontEndSettings

if TYPE_CHECKING:
    from mirex.model.weights import Sealed

Progress = Callable[[int, int], None]

log = logging.getLogger(__name__)

_MOST_PRODUCTS = 1 << 24  # held at a time: 64 MB
_OF_WINDOW = 5  # songs nearest to a window become candidates for the path
_MOST_CANDIDATES = 1000
_OF_BACKGROUND = 20  # songs next to the nearest
_LONGEST = 240.0  # seconds of a stretch


@dataclasses.dataclass(frozen=True)
class Evidence:
    """Constants that turn similarity into evidence.

    Attributes
    ----------
    slope : float
        Log odds per unit of cosine similarity.
    threshold : float
        Similarity above the background that is evidence neither for a song nor against it, for a segment of
        0 s.
    per_second : float
        How much the threshold grows with the segment's length.
    least_background : float
        Minimum background, for collections of few songs.
    """

    slope: float = 36.0
    threshold: float = -0.018
    per_second: float = 0.0006
    least_background: float = 0.105


@dataclasses.dataclass(frozen=True)
class Occurrence:
    """A song in a recording.

    Attributes
    ----------
    song : str
        Its path in the index.
    start, end : float
        Seconds, accurate to about 15 s.
    confidence : float
        Probability that this song plays; mean over the time span.
    runner_up : str or None
        The most likely other song; None in an index of one song.
    runner_up_confidence : float
        Its probability.
    """

    song: str
    start: float
    end: float
    confidence: float
    runner_up: str | None
    runner_up_confidence: float


@dataclasses.dataclass(frozen=True)
class Scan:
    """Result of a scan.

    Attributes
    ----------
    recording : str
        Its path.
    seconds : float
        Its length, silence included.
    occurrences : tuple of Occurrence
        In order of time.
    songs : int
        How many songs it was compared with.
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
        Path. Memory does not hold the signal, only the columns (3 MB per hour) and the windows' embeddings.
        With less than 20 s of sound, nothing is found, and a warning is logged. So is what was wrong with a
        recording that could be decoded all the same, if its columns are not in `scratch` yet.
    index : Index
        Made with the same weights and front end. Entries with the recording's own content are left out.
    scratch : path-like, optional
        Folder that keeps columns and windows, so that an interrupted scan can be resumed.
    at_least : float
        Minimum confidence of an occurrence, in [0, 1].
    layout : Layout
        Of the windows.
    evidence : Evidence, optional
        `Evidence()` by default.
    weights, device, cqt, backend
        As for `mirex.extract`, but `cqt` and `backend` are by default those that the index was made with.
    progress : callable, optional
        Called with (done, total), starting from 0 for each phase: bytes of the file, which is decoded twice;
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
        raise UsageError(f"confidence {at_least}: must be between 0 and 1")
    cqt = cqt or index.fingerprints["cqt"]
    sealed = _sealed_like(index, weights, device=device, cqt=cqt, backend=backend)
    marks = {"front_end": sealed.front_end.fingerprint(), "weights": sealed.fingerprint, "cqt": cqt}
    with named(recording):
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
    hop = layout.step(seconds_per_column=second) * second
    found = occurrences(vectors, spans * second, index=index, hop=hop, content=content, evidence=evidence)
    kept = [each for each in found if each.confidence >= at_least]
    placed = tuple(part for each in kept for part in _placed(each, silences, hop=hop))
    return Scan(recording, length, placed, len(index), sealed.fingerprint)


def _sealed_like(
    index: Index, weights: str | os.PathLike[str] | None, *, device: str, cqt: str, backend: str | None
) -> "Sealed":
    """Weights whose embeddings are comparable with the index's, with the given or the index's backend."""
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
    """Columns and silences, from the store or added to it; rounded in both cases, so that both are equal."""
    key = _key(content)
    columns, silences = store.get(key, kind="columns"), store.get(f"{key}, silences")
    if columns is None or silences is None:
        with named(recording):
            found = columns_of_file(
                recording,
                settings=settings,
                implementation=cqt,
                folder=store.folder.parent,
                progress=progress,
            )
        columns, silences = found.columns.astype(np.float16), found.silences.astype(np.float32)
        store.put(key, columns, kind="columns")
        store.put(f"{key}, silences", silences)
    return Heard(columns.astype(np.float32), silences.astype(np.float64))


def _key(content: str) -> str:
    """Key of a scan's columns in the store; those of `mirex.extract` differ in the last bits."""
    return f"{content} in pieces"


def _placed(each: Occurrence, silences: NDArray[np.float64], *, hop: float) -> list[Occurrence]:
    """Map an occurrence from the signal without silence to the recording.

    A silence longer than a cell splits it; parts of less than half a cell are dropped.
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
    hop: float,
    content: str | None = None,
    evidence: Evidence | None = None,
) -> list[Occurrence]:
    """Find the songs of an index in a recording given by its windows.

    Parameters
    ----------
    vectors : float32 [windows, size]
        Their embeddings.
    seconds : float [windows, 2]
        Start and end of each.
    index : Index
        Made with the same weights and front end.
    hop : float
        Seconds from one window to the next of the same length, which is the length of a cell.
    content : str, optional
        SHA-256 of the recording's file, hexadecimal: songs with the same content are left out.
    evidence : Evidence, optional
        `Evidence()` by default.

    Returns
    -------
    list of Occurrence
        In order of time.
    """
    if not len(vectors):
        return []
    songs, background = _candidates(vectors, index, content)
    if not len(songs):
        return []
    end = float(seconds.max())
    cells = max(1, round(end / hop))
    found = segment_evidence(
        vectors, _grid(seconds, hop, cells), background, index=index, songs=songs, hop=hop,
        evidence=evidence or Evidence(),
    )  # fmt: skip
    path, chances = best_path(found, cells=cells), posteriors(found, cells=cells)
    return _runs(path, chances, [index.names[row] for row in songs], hop=hop, end=end)


def _candidates(
    vectors: Array, index: Index, content: str | None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Rows of the songs that are among the nearest of any window, and each window's background.

    If there are many, only those that stand out most from the background.
    """
    best = np.full(len(index), -np.inf, np.float32)
    background = np.empty(len(vectors), np.float32)
    rows = len(index) if index.windows is None else len(index.windows) + len(index)
    step = max(1, _MOST_PRODUCTS // max(1, rows))
    for start in range(0, len(vectors), step):
        found = _similarities(vectors[start : start + step], index, None)
        if content is not None:
            found[:, index.rows_of(content)] = -np.inf
        level = background[start : start + step] = _background(found)
        nearest = np.argpartition(-found, min(_OF_WINDOW, len(index) - 1), axis=1)[:, :_OF_WINDOW]
        np.maximum.at(best, nearest, np.take_along_axis(found, nearest, axis=1) - level[:, None])
    order = np.argsort(-best, kind="stable")[:_MOST_CANDIDATES]
    return np.sort(order[np.isfinite(best[order])]), background


def _background(similarities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean similarity of the songs that follow each window's nearest; -1 if there is only one song."""
    count = min(_OF_BACKGROUND + 1, int(np.isfinite(similarities[:1]).sum()))
    if count < 2:
        return np.full(len(similarities), -1, np.float32)
    top = np.partition(similarities, -count, axis=1)[:, -count:]
    return (top.sum(axis=1) - top.max(axis=1)) / (count - 1)


def _grid(seconds: NDArray[np.floating], hop: float, cells: int) -> dict[int, NDArray[np.int64]]:
    """For each window length in cells: the windows that begin in cell 0, 1, 2 and so on."""
    lengths = np.maximum(1, np.round((seconds[:, 1] - seconds[:, 0]) / hop).astype(int))
    found = {}
    for length in sorted(set(lengths.tolist())):
        rows = np.flatnonzero(lengths == length)
        starts = np.arange(max(1, cells - length + 1)) * hop
        found[min(length, cells)] = rows[np.abs(seconds[rows, 0] - starts[:, None]).argmin(axis=1)]
    return found


def segment_evidence(
    vectors: Array,
    grid: Mapping[int, NDArray[np.int64]],
    background: NDArray[np.floating],
    *,
    index: Index,
    songs: NDArray[np.int64],
    hop: float,
    evidence: Evidence,
) -> dict[int, NDArray[np.float32]]:
    """Compute the evidence that a song plays from one cell to another.

    Parameters
    ----------
    vectors : float32 [windows, size]
        Embeddings of windows.
    grid : {int: int64 [starts]}
        For each window length in cells, the windows that begin in cell 0, 1, 2 and so on.
    background : float [windows]
        Of each window.
    index : Index
        Of the songs.
    songs : int64 [songs]
        Rows of the index.
    hop : float
        Length of a cell in seconds.
    evidence : Evidence
        The constants.

    Returns
    -------
    {int: float32 [starts, songs]}
        Log odds, by the segment's length in cells, from that of the shortest window on.
    """
    shortest, cells = min(grid), max(length + len(rows) - 1 for length, rows in grid.items())
    found = {}
    for length in range(shortest, min(cells, max(shortest, round(_LONGEST / hop))) + 1):
        base = max(each for each in grid if each <= length)
        rows, together = grid[base], length - base + 1
        means = _running_mean(vectors[rows], together)
        means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-9)
        level = np.maximum(_running_mean(background[rows][:, None], together), evidence.least_background)
        level += evidence.threshold + evidence.per_second * length * hop
        nearness = _similarities(means.astype(np.float32), index, songs) - level.astype(np.float32)
        found[length] = np.float32(evidence.slope) * nearness - np.float32(np.log(len(index)))
    return found


def _running_mean(values: NDArray[np.floating], together: int) -> NDArray[np.float64]:
    """Means of `together` consecutive rows, float64 [rows - together + 1, columns]."""
    sums = np.cumsum(np.pad(values.astype(np.float64), ((1, 0), (0, 0))), axis=0)
    return (sums[together:] - sums[:-together]) / together


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


def _runs(
    path: NDArray[np.int64], chances: NDArray[np.float64], names: list[str], *, hop: float, end: float
) -> list[Occurrence]:
    """Consecutive cells with one song, as occurrences."""
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
