"""Approximate search in a very large index, by a graph of neighbours (HNSW) and faiss.

faiss walks the graph over the half-precision vectors of the mapped index, by inner products. What it finds is
compared again exactly (`mirex.retrieval.index.closest`), so distances are those of an exact search. The only
possible error is that a song among the nearest is not found; how often that happens is measured when the
graph is made, kept in its file, and stated with every result.

A graph belongs to the exact bytes of the embeddings that it links. After a change of the index it is
rejected; making it again extends it if songs were only added. Links are the same for any number of threads,
but depend on the version of faiss and on the order in which songs were added.
"""

import contextlib
import dataclasses
import functools
import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mirex.errors import IndexFileError, UsageError
from mirex.extras import need
from mirex.retrieval import graph_file
from mirex.retrieval.graph_file import DEGREE, Links, Recall, path_of
from mirex.retrieval.index import Index, Neighbours, closest, unit_rows

BUILDING_WIDTH = 40
"""Candidates kept while links are sought: faiss's default."""
WIDTH = 512
"""Candidates kept in a search; half as many take half as long and miss nearly twice as many songs."""
BLOCK = 8192
"""Songs added at a time: 64 MB of float32."""
QUERIES, TOP, DISTANCE = 200, 10, 0.1
"""Of the sample for measuring recall."""


@dataclasses.dataclass(frozen=True, eq=False)
class Graph:
    """A graph of the neighbours in an index; `open_graph` and `make` give one.

    Attributes
    ----------
    index : Index
        The index of the graph.
    links : Links
        Between its songs.
    recall : Recall
        As measured when the graph was made.
    """

    index: Index
    links: Links
    recall: Recall

    def search(
        self,
        queries: NDArray,
        *,
        top: int = TOP,
        contents: Sequence[str | None] | None = None,
        width: int = WIDTH,
        threads: int = 1,
    ) -> list[Neighbours]:
        """Find the nearest songs of each query that the graph leads to.

        Parameters
        ----------
        queries : float [queries, size]
            Embeddings of any length but 0.
        top : int
            Songs for each query, 1 or more.
        contents : sequence of str or None, optional
            SHA-256 of each query's file, hexadecimal: songs with the same content are left out.
        width : int
            Candidates kept, at least twice `top`: more take longer and find more.
        threads : int
            Queries searched at a time; the result does not depend on it.

        Returns
        -------
        list of Neighbours
            One per query. Distances are those of `Index.search`; equal ones keep the index's order.

        Raises
        ------
        UsageError
            For queries of another shape, of length 0 or not finite, and for a `top` below 1.
        MirexError
            If the index has values that are not finite, or faiss is missing.
        """
        if top < 1:
            raise UsageError(f"top {top}: give 1 or more")
        units = unit_rows(np.asarray(queries), self.index.embeddings.shape[1])
        own = [self.index.rows_of(content) for content in contents or [None] * len(units)]
        wanted = min(len(self.index), max(width, 2 * top + max(map(len, own), default=0)))
        scores, rows = self._walk(units, width=wanted, threads=threads)
        return [self._compared(*each, top=top) for each in zip(units, rows, scores, own, strict=True)]

    def _walk(self, units: NDArray, *, width: int, threads: int) -> tuple[NDArray, NDArray]:
        """Products and rows of the `width` songs found for each query; row -1 if fewer are found."""
        import faiss

        with _threads(threads):
            return self._graph.search(units, width, params=faiss.SearchParametersHNSW(efSearch=width))

    @functools.cached_property
    def _graph(self) -> Any:
        return _over(self.index.embeddings, self.links)

    def _compared(
        self, unit: NDArray, rows: NDArray, scores: NDArray, own: NDArray, *, top: int
    ) -> Neighbours:
        order = np.argsort(rows)
        rows, scores = rows[order], scores[order]
        kept = (rows >= 0) & ~np.isin(rows, own)
        rows, scores = rows[kept], scores[kept]
        return closest(unit, rows, scores, embeddings=self.index.embeddings, top=min(top, len(rows)))


def open_graph(index: Index) -> Graph:
    """Open the graph of an index.

    Parameters
    ----------
    index : Index
        An open index.

    Returns
    -------
    Graph

    Raises
    ------
    IndexFileError
        If there is none, or it is damaged, or of other embeddings than those of the index.
    MirexError
        If faiss is not installed.
    """
    need(["faiss"], extra="faiss")
    again = f"'mirex index -o {index.path} --approximate'"
    try:
        links, embeddings, recall = graph_file.read(path_of(index.path))
    except FileNotFoundError:
        raise IndexFileError(
            f"{index.path} has no graph for approximate search; make it with {again}"
        ) from None
    if embeddings != index.embeddings_hash or len(links.levels) != len(index):
        raise IndexFileError(
            f"{path_of(index.path)} is outdated, since the index has changed; update it with {again}"
        )
    return Graph(index, links, recall)


def make(
    index: Index, *, threads: int = 1, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> Graph:
    """Make the graph of an index, or extend the existing one; measure its recall and write it.

    Memory: the index's embeddings, and about 300 bytes per song.

    Parameters
    ----------
    index : Index
        With at least one song.
    threads : int
        Songs linked at a time; the result does not depend on it.
    seed : int
        Of the sample for measuring recall.
    progress : callable, optional
        Called with (done, total) songs.

    Returns
    -------
    Graph

    Raises
    ------
    UsageError
        For an index without songs.
    IndexFileError
        If the index is damaged, or the graph cannot be written.
    MirexError
        If faiss is not installed.
    """
    need(["faiss"], extra="faiss")
    if len(index) == 0:
        raise UsageError(f"{index.path} has no songs; add some before making a graph")
    index.verify()
    links = _link(index.embeddings, _prefix(index), threads=threads, progress=progress)
    unmeasured = Graph(index, links, Recall(0.0, 0, TOP, DISTANCE))
    graph = dataclasses.replace(unmeasured, recall=measure(unmeasured, seed=seed, threads=threads))
    graph_file.write(path_of(index.path), links, embeddings=index.embeddings_hash, recall=graph.recall)
    return graph


def measure(
    graph: Graph, *, queries: int = QUERIES, top: int = TOP, seed: int = 0, threads: int = 1
) -> Recall:
    """Measure the recall of a graph against exact search.

    A query is a song of the index moved by random noise, so that it is not one of the graph's own points.

    Parameters
    ----------
    graph : Graph
        Of an index.
    queries : int
        How many; fewer if the index has fewer songs.
    top : int
        How many of the nearest to seek.
    seed : int
        Of the sample and the noise.
    threads : int
        Queries searched at a time.

    Returns
    -------
    Recall
        A song as near as the last of the nearest counts as found.
    """
    sample = sample_queries(graph.index, queries=queries, seed=seed)
    exact = graph.index.search(sample, top=top)
    found = graph.search(sample, top=top, threads=threads)
    hits = [
        np.count_nonzero(there.distances <= all_.distances[-1])
        for all_, there in zip(exact, found, strict=True)
    ]
    wanted = sum(len(all_.rows) for all_ in exact)
    return Recall(float(sum(hits) / wanted), len(sample), top, DISTANCE)


def sample_queries(index: Index, *, queries: int = QUERIES, seed: int = 0) -> NDArray[np.float32]:
    """Draw songs of an index, each moved by random noise to a cosine distance of about DISTANCE.

    Parameters
    ----------
    index : Index
        An open index.
    queries : int
        How many; fewer if the index has fewer songs.
    seed : int
        Of the sample and the noise.

    Returns
    -------
    float32 [queries, size]
    """
    generator = np.random.default_rng(seed)
    rows = np.sort(generator.choice(len(index), min(queries, len(index)), replace=False))
    songs = index.embeddings[rows].astype(np.float32)
    noise = generator.standard_normal(songs.shape).astype(np.float32)
    # Noise is almost at right angles to a song, so that its length is the tangent of the angle between.
    tangent = math.sqrt((1 - DISTANCE) ** -2 - 1)
    return songs + tangent * noise / np.linalg.norm(noise, axis=1, keepdims=True)


def _prefix(index: Index) -> Links | None:
    """The links of the existing graph, if the index begins with its songs."""
    try:
        links, embeddings, _ = graph_file.read(path_of(index.path))
    except (FileNotFoundError, IndexFileError):
        return None
    if len(links.levels) > len(index):
        return None
    digest = hashlib.sha256()
    for start in range(0, len(links.levels), BLOCK):
        digest.update(index.embeddings[start : min(start + BLOCK, len(links.levels))].tobytes())
    return links if digest.hexdigest() == embeddings else None


def _link(
    embeddings: NDArray[np.float16],
    before: Links | None,
    *,
    threads: int,
    progress: Callable[[int, int], None] | None,
) -> Links:
    """Link all songs; those of `before` are already linked."""
    songs, size = embeddings.shape
    graph = _empty(size)
    graph.hnsw.efConstruction = BUILDING_WIDTH
    done = 0
    if before is not None:
        done = len(before.levels)
        for start in range(0, done, BLOCK):
            graph.storage.add(embeddings[start : min(start + BLOCK, done)].astype(np.float32))
        _put_links(graph, before)
    with _threads(threads):
        for start in range(done, songs, BLOCK):
            if progress:
                progress(start - done, songs - done)
            graph.add(embeddings[start : start + BLOCK].astype(np.float32))
    if progress:
        progress(songs - done, songs - done)
    return _links_of(graph)


def _over(embeddings: NDArray[np.float16], links: Links) -> Any:
    """A faiss graph over the mapped vectors themselves: copying would read all of them for one query."""
    import faiss

    graph = _empty(embeddings.shape[1])
    storage = faiss.downcast_index(graph.storage)
    halves = faiss.swig_ptr(embeddings.view(np.uint8))
    view = faiss.MaybeOwnedVectorUInt8.create_view(halves, embeddings.nbytes, storage.codes.owner)
    storage.codes, storage.ntotal = view, len(embeddings)
    _put_links(graph, links)
    return graph


def _empty(size: int) -> Any:
    """A faiss graph without songs, for half precision and inner products."""
    import faiss

    return faiss.IndexHNSWSQ(size, faiss.ScalarQuantizer.QT_fp16, DEGREE, faiss.METRIC_INNER_PRODUCT)


def _put_links(graph: Any, links: Links) -> None:
    """Give a faiss graph its links; its storage already has the songs."""
    import faiss

    hnsw, count = graph.hnsw, len(links.neighbours)
    faiss.copy_array_to_vector(np.ascontiguousarray(links.levels), hnsw.levels)
    faiss.copy_array_to_vector(links.offsets.astype(np.uint64), hnsw.offsets)
    hnsw.neighbors.resize(count)
    faiss.rev_swig_ptr(hnsw.neighbors.data(), count)[:] = links.neighbours
    hnsw.entry_point, hnsw.max_level = links.entry, int(links.levels[links.entry]) - 1
    graph.ntotal = len(links.levels)


def _links_of(graph: Any) -> Links:
    import faiss

    hnsw = graph.hnsw
    neighbours = faiss.rev_swig_ptr(hnsw.neighbors.data(), hnsw.neighbors.size()).copy()
    return Links(faiss.vector_to_array(hnsw.levels), neighbours, hnsw.entry_point)


@contextlib.contextmanager
def _threads(number: int) -> Iterator[None]:
    """Set the number of threads of faiss, and restore it afterwards."""
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(number)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
