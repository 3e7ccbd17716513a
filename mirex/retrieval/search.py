"""Search: the recordings of a collection that are nearest to a query, from stored embeddings.

The collection is an index (`mirex.retrieval.index`), which needs no audio, or a list, whose files are only
looked up in the scratch store: missing ones are reported, and `mirex extract` can add them. A query is taken
from the store too, or else analysed and added. Distances are those of `mirex.retrieval.distance`; ties keep
the order of the list. Entries with the query's own content are left out.
"""

import dataclasses
import os
import tempfile
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mirex.errors import AudioError, UsageError
from mirex.extraction.contents import identify
from mirex.extraction.pool import TIME_LIMIT
from mirex.extraction.store import Entry, Store, content_hash
from mirex.features import short
from mirex.features.audio import named
from mirex.retrieval.calibration import EVEN, Calibration, from_metadata
from mirex.retrieval.distance import distance_matrix
from mirex.retrieval.index import Index
from mirex.retrieval.indexing import fingerprints
from mirex.settings import FrontEndSettings

if TYPE_CHECKING:
    from mirex.extraction.extract import Extraction


@dataclasses.dataclass(frozen=True)
class Hit:
    """One recording of the ranked list.

    Attributes
    ----------
    rank : int
        From 1.
    path : str
        As in the list.
    distance : float
        In [0, 2].
    probability : float or None
        Of "same work", in [0, 1]; None if the weights have no calibration, or if the recording or the query
        is short.
    short : bool
        Whether the recording is short (`mirex.features.short`).
    """

    rank: int
    path: str
    distance: float
    probability: float | None
    short: bool = False


@dataclasses.dataclass(frozen=True)
class Ranking:
    """Result of a search.

    Attributes
    ----------
    query : str
        Path of the recording.
    hits : tuple of Hit
        Nearest first.
    compared : int
        Recordings that the query was compared with.
    missing : mapping of str to str
        {path: reason} of the recordings that were not compared.
    own : int
        Entries of the collection that are the query itself.
    weights : str
        Fingerprint.
    calibration : Calibration or None
        Of the probabilities; None if the weights have none.
    prior : float
        The one given, or that of one version among the recordings compared.
    short : str
        Warning about a short query; "" for others.
    approximate : str
        The measured recall of an approximate search; "" for an exact one.
    """

    query: str
    hits: tuple[Hit, ...]
    compared: int
    missing: Mapping[str, str]
    own: int
    weights: str
    calibration: Calibration | None
    prior: float
    short: str = ""
    approximate: str = ""


def search(
    query: str,
    *,
    collection: Sequence[str],
    scratch: str | os.PathLike[str],
    top: int = 10,
    prior: float | None = None,
    locations: Sequence[str] | None = None,
    weights: str | os.PathLike[str] | None = None,
    threads: int = 1,
    device: str = "auto",
    cqt: str = "multirate",
    backend: str = "torch",
    rehash: bool = False,
    time_limit: float = TIME_LIMIT,
) -> Ranking:
    """Rank a collection by its distance to a query.

    Parameters
    ----------
    query : str
        Path of a recording.
    collection : sequence of str
        Paths.
    scratch : path-like
        Folder that `mirex.extract` filled.
    top : int
        Length of the list, 1 or more.
    prior : float, optional
        Expected share of versions in the collection, in (0, 1); that of one version by default.
    locations : sequence of str, optional
        Where the collection's files are, if that differs from their names.
    weights, threads, device, cqt, backend, rehash, time_limit
        As for `mirex.extract`.

    Returns
    -------
    Ranking

    Raises
    ------
    UsageError
        For a `top` below 1 or a prior outside (0, 1).
    AudioError
        If the query cannot be analysed.
    WeightsError
        If the weights cannot be used.
    StoreError
        If the scratch folder cannot be used.

    Examples
    --------
    ::

        names = mirex.read_list("collection.txt").paths
        mirex.extract(names, scratch="scratch")
        for hit in mirex.search("query.wav", collection=names, scratch="scratch", top=3).hits:
            print(hit.rank, hit.path, hit.distance)
    """
    if top < 1:
        raise UsageError(f"top {top}: give 1 or more")
    settings, fingerprint, calibration = _sealed(weights, backend)
    store = Store(scratch, front_end=settings.fingerprint(), weights=fingerprint, cqt=cqt)
    with named(query):
        content = content_hash(query)
    own = _query_entry(
        query, content, store=store, weights=weights, device=device, cqt=cqt, backend=backend,
        time_limit=time_limit,
    )  # fmt: skip
    contents, failures = identify(locations or collection, scratch=scratch, threads=threads, rehash=rehash)
    missing = {collection[index]: reason for index, reason in failures.items()}
    found = _stored(contents, store=store, besides=content)
    rows = [index for index, key in enumerate(contents) if key in found]
    for index, key in enumerate(contents):
        if key is not None and key != content and key not in found:
            missing[collection[index]] = "not extracted yet"
    references = [found[contents[index]].array for index in rows]
    prior = one_version(len(rows)) if prior is None else prior
    hits = nearest(
        own.array,
        np.stack(references) if references else np.empty((0, own.array.size), np.float32),
        names=[collection[index] for index in rows],
        top=top,
        calibration=calibration,
        prior=prior,
    )
    brief = {collection[index] for index in rows if short.is_short(found[contents[index]].seconds)}
    return Ranking(
        query,
        tuple(mark_short(hits, brief=brief, seconds=own.seconds)),
        len(rows),
        missing,
        contents.count(content),
        fingerprint,
        calibration,
        prior,
        short.warning(own.seconds) if short.is_short(own.seconds) else "",
    )


def mark_short(hits: Sequence[Hit], *, brief: Container[str], seconds: float) -> list[Hit]:
    """Remove the probabilities of short recordings.

    Parameters
    ----------
    hits : sequence of Hit
        Of one query.
    brief : container of str
        Paths of short recordings of the collection.
    seconds : float
        Seconds of sound of the query.

    Returns
    -------
    list of Hit
        Those in `brief` are marked as short and lose their probability; if the query is short, all do.
    """
    whole = not short.is_short(seconds)
    return [
        hit if whole and hit.path not in brief
        else dataclasses.replace(hit, probability=None, short=hit.path in brief)
        for hit in hits
    ]  # fmt: skip


def search_index(
    queries: Sequence[str],
    *,
    index: Index,
    scratch: str | os.PathLike[str] | None = None,
    top: int = 10,
    prior: float | None = None,
    approximate: bool = False,
    **options: Any,
) -> list[Ranking]:
    """Rank the songs of an index by their distance to each query.

    Parameters
    ----------
    queries : sequence of str
        Paths of recordings. One that cannot be analysed is logged and has no ranking.
    index : Index
        Made with the same weights and front end.
    scratch : path-like, optional
        Folder that keeps the queries' embeddings.
    top : int
        Length of each list, 1 or more.
    prior : float, optional
        Expected share of versions in the collection, in (0, 1); that of one version by default.
    approximate : bool
        Search only where the index's graph leads (`mirex.retrieval.graph`).
    options
        Of `mirex.extract`.

    Returns
    -------
    list of Ranking
        In the order of the queries.

    Raises
    ------
    SettingsMismatch
        If the index was made with other weights or another front end.
    AudioError
        If no query can be analysed, or not all of them and `strict` is given.
    UsageError, IndexFileError
        As for `Index.search`; also if the graph is missing or stale.
    MirexError
        If faiss is missing.
    """
    from mirex.extraction.extract import extract
    from mirex.retrieval.graph import open_graph

    chosen = {"cqt": "multirate", "backend": "torch"} | options
    index.check(fingerprints(options.get("weights"), cqt=chosen["cqt"], backend=chosen["backend"]))
    _, weights, calibration = _sealed(options.get("weights"), chosen["backend"])
    graph = open_graph(index) if approximate else None
    strict = options.pop("strict", False)
    with tempfile.TemporaryDirectory(prefix="mirex-") as temporary:
        result = extract(queries, scratch=scratch or temporary, **options)
    if strict and result.failures:
        raise AudioError(
            f"{len(result.failures)} of {len(queries)} queries could not be analysed, which is an error with "
            "--strict; the log has the reasons"
        )
    rows = [row for row in range(len(queries)) if row not in result.failures]
    if not rows:
        raise AudioError(f"no query can be analysed; the first, {queries[0]!r}: {result.failures[0]}")
    contents = [result.contents[row] for row in rows]
    found = (graph or index).search(result.embeddings[rows], top=top, contents=contents)
    recall = str(graph.recall) if graph else ""
    rankings = []
    for row, content, each in zip(rows, contents, found, strict=True):
        names = [index.names[song] for song in each.rows]
        own = index.contents.count(content) if content else 0
        compared = len(index) - own
        share = one_version(compared) if prior is None else prior
        brief = {index.names[song] for song in each.rows if short.is_short(index.seconds[song])}
        seconds = float(result.seconds[row])
        hits = mark_short(
            _hits(each.distances, names, calibration=calibration, prior=share), brief=brief, seconds=seconds
        )
        said = short.warning(seconds) if short.is_short(seconds) else ""
        rankings.append(
            Ranking(queries[row], tuple(hits), compared, {}, own, weights, calibration, share, said, recall)
        )
    return rankings


def one_version(recordings: int) -> float:
    """Compute the prior of one version among the recordings of a collection.

    Parameters
    ----------
    recordings : int
        How many recordings the query is compared with, 0 or more.

    Returns
    -------
    float
        In (0, 0.5]; 0.5 for fewer than two recordings.
    """
    return min(EVEN, 1 / max(recordings, 1))


def _query_entry(query: str, content: str, *, store: Store, **options: Any) -> Entry:
    """The query's embedding, from the store, or computed and kept there."""
    entry = store.entry(content)
    if entry is None:
        found = embed_recordings([query], scratch=None, **options)
        entry = Entry(found.embeddings[0], float(found.seconds[0]))
        store.put(content, entry.array, seconds=entry.seconds)
    return entry


def nearest(
    query: np.ndarray,
    references: np.ndarray,
    *,
    names: Sequence[str],
    top: int,
    calibration: Calibration | None = None,
    prior: float = EVEN,
) -> list[Hit]:
    """Find the embeddings nearest to one.

    Parameters
    ----------
    query : float [d]
        Embedding.
    references : float [n, d]
        Embeddings of the collection.
    names : sequence of str
        Paths of the references.
    top : int
        Length of the list.
    calibration : Calibration, optional
        Without it, hits have no probability.
    prior : float
        Share of versions among the references, in (0, 1).

    Returns
    -------
    list of Hit
        Ascending by distance; ties keep their order.

    Examples
    --------
    >>> found = nearest(np.array([1.0, 0.0]), np.eye(2)[::-1], names=["far", "same"], top=1)
    >>> found[0].path, found[0].distance
    ('same', 0.0)
    """
    distances = distance_matrix(query[None], references)[0]
    order = np.argsort(distances, kind="stable")[:top]
    return _hits(distances[order], [names[i] for i in order], calibration=calibration, prior=prior)


def _hits(
    distances: np.ndarray, names: Sequence[str], *, calibration: Calibration | None, prior: float
) -> list[Hit]:
    chances = calibration.probability(distances, prior=prior) if calibration else None
    return [
        Hit(rank + 1, name, float(distances[rank]), None if chances is None else float(chances[rank]))
        for rank, name in enumerate(names)
    ]


def embed_recordings(
    paths: Sequence[str], *, scratch: str | os.PathLike[str] | None, **options: Any
) -> "Extraction":
    """Embed a few recordings.

    Parameters
    ----------
    paths : sequence of str
        Of the recordings.
    scratch : path-like or None
        Folder to reuse and keep embeddings in; None: a temporary one, which leaves a collection's report of
        failed files alone.
    options
        Of `mirex.extract`.

    Returns
    -------
    Extraction

    Raises
    ------
    AudioError
        If any of them cannot be analysed.
    """
    from mirex.extraction.extract import extract

    options["strict"] = False  # a failure is an error anyway, and the report may be in a temporary folder
    with tempfile.TemporaryDirectory(prefix="mirex-") as temporary:
        result = extract(paths, scratch=scratch or temporary, **options)
    if result.failures:
        index, reason = min(result.failures.items())
        raise AudioError(f"{paths[index]!r} cannot be analysed: {reason}")
    return result


def _sealed(
    weights: str | os.PathLike[str] | None, backend: str
) -> tuple[FrontEndSettings, str, Calibration | None]:
    from mirex.model.weights import fingerprint, read_metadata

    metadata = read_metadata(Path(weights) if weights else None)
    settings = FrontEndSettings.from_json(metadata["front_end"])
    return settings, fingerprint(metadata, backend=backend), from_metadata(metadata)


def _stored(contents: Sequence[str | None], *, store: Store, besides: str) -> dict[str | None, Entry]:
    """{content: entry} of the store's entries, except the content `besides`."""
    found: dict[str | None, Entry] = {}
    for content in dict.fromkeys(contents):
        entry = None if content is None or content == besides else store.entry(content)
        if entry is not None:
            found[content] = entry
    return found
