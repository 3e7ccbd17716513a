"""Approximate search: most of what is nearest is found, at exact distances, and a stale graph is refused."""

import sys

import numpy as np
import pytest

from mirex.errors import IndexFileError, MirexError, UsageError
from mirex.retrieval import graph_file
from mirex.retrieval.graph_file import Links, Recall, path_of
from mirex.retrieval.index import Index, Songs, append, remove

faiss = pytest.importorskip("faiss", reason="faiss is an extra")

from mirex.retrieval import graph as graphs  # noqa: E402
from mirex.retrieval.graph import make, open_graph  # noqa: E402

MARKS = {"front_end": "f" * 16, "cqt": "multirate", "weights": "w" * 16}
SIZE, SONGS = 256, 3000


def clustered(rng, count=SONGS):
    """Works of some ten versions each, as far apart as songs are."""
    works = rng.standard_normal((count // 10, SIZE))
    return works[rng.integers(0, len(works), count)] + 1.2 * rng.standard_normal((count, SIZE))


def songs(vectors, first=0):
    numbers = range(first, first + len(vectors))
    return Songs([f"song {n}.mp3" for n in numbers], [f"{n:064x}" for n in numbers], vectors)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    path = tmp_path_factory.mktemp("graph") / "songs.mirex"
    index = Index.create(path, songs(clustered(np.random.default_rng(0))), fingerprints=MARKS)
    return make(index)


@pytest.fixture
def small(tmp_path, rng):
    return Index.create(tmp_path / "songs.mirex", songs(clustered(rng, 300)), fingerprints=MARKS)


def found_of(graph, queries, exact, **options):
    found = graph.search(queries, **options)
    return np.mean([np.isin(a.rows, b.rows).mean() for a, b in zip(exact, found, strict=True)])


def test_recall_and_distances_are_those_of_exact_search(made):
    queries = clustered(np.random.default_rng(1))[:200] + made.index.embeddings[:200]
    exact, found = made.index.search(queries), made.search(queries)
    assert found_of(made, queries, exact) >= 0.98
    common = 0
    for ours, theirs in zip(found, exact, strict=True):
        assert (np.diff(ours.distances) >= 0).all()
        _, here, there = np.intersect1d(ours.rows, theirs.rows, return_indices=True)
        np.testing.assert_array_equal(ours.distances[here], theirs.distances[there])
        common += len(here)
    assert common > 1900


def test_recall_is_measured_and_kept(made):
    assert made.recall == open_graph(made.index).recall
    assert (made.recall.queries, made.recall.top) == (200, 10)
    assert made.recall.share >= 0.98
    assert str(made.recall).startswith(f"recall@10 {made.recall.share:.4f}")


def test_measured_recall_falls_where_links_are_missing(made):
    """Half of the songs have lost their links: what is measured must show it."""
    neighbours = made.links.neighbours.copy()
    starts = made.links.offsets[:-1]
    for start in starts[made.links.levels == 1][::2]:
        neighbours[start + 4 : start + 64] = -1
    hidden = np.random.default_rng(0).random(SONGS) < 0.5
    neighbours[np.isin(neighbours, np.flatnonzero(hidden))] = -1
    poor = graphs.Graph(made.index, Links(made.links.levels, neighbours, made.links.entry), made.recall)
    assert graphs.measure(poor).share < 0.7


def test_queries_of_the_sample_are_no_songs(made):
    queries = graphs.sample_queries(made.index)
    nearest = np.array([found.distances[0] for found in made.index.search(queries, top=1)])
    assert np.median(nearest) == pytest.approx(graphs.DISTANCE, abs=0.03)
    assert nearest.min() > 0.03
    np.testing.assert_array_equal(queries, graphs.sample_queries(made.index))
    assert not np.array_equal(queries, graphs.sample_queries(made.index, seed=1))


def test_wider_search_finds_more(made):
    queries = np.random.default_rng(3).standard_normal((200, SIZE))  # near to nothing: hard to find
    exact = made.index.search(queries, top=3)
    narrow = found_of(made, queries, exact, top=3, width=6)
    assert narrow < found_of(made, queries, exact, top=3, width=400)


def test_links_do_not_depend_on_threads_or_on_the_run(small, made):
    path = path_of(small.path)
    contents = []
    for threads in (1, 2, 2):
        make(small, threads=threads)
        contents.append(path.read_bytes())
        path.unlink()
    assert contents[0] == contents[1] == contents[2]
    queries = graphs.sample_queries(made.index)
    for one, two in zip(made.search(queries), made.search(queries, threads=2), strict=True):
        np.testing.assert_array_equal(one.rows, two.rows)


def test_own_content_is_left_out_and_ties_keep_order(tmp_path):
    vectors = np.eye(3)[[1, 0, 1, 0, 1]]
    graph = make(Index.create(tmp_path / "i.mirex", songs(vectors), fingerprints=MARKS))
    assert graph.search(np.eye(3)[:1], top=4)[0].rows.tolist() == [1, 3, 0, 2]
    assert graph.search(np.eye(3)[:1], top=9, contents=[f"{1:064x}"])[0].rows.tolist() == [3, 0, 2, 4]


def test_search_wrong_usage(made):
    with pytest.raises(UsageError, match="top 0"):
        made.search(np.ones((1, SIZE)), top=0)
    with pytest.raises(UsageError, match="shape"):
        made.search(np.ones((1, SIZE + 1)))


def test_a_stale_graph_is_refused_and_extended(small, rng, monkeypatch):
    monkeypatch.setattr(graphs, "BLOCK", 64)
    before = make(small).links
    grown = append(small.path, songs(clustered(rng, 50), first=300), fingerprints=MARKS)
    with pytest.raises(IndexFileError, match="outdated.*--approximate"):
        open_graph(grown)
    linked = []
    after = make(grown, progress=lambda done, total: linked.append((done, total)))
    assert linked[-1] == (50, 50), "only new songs were linked"
    np.testing.assert_array_equal(after.links.levels[:300], before.levels)
    assert open_graph(grown).recall.share > 0.98
    new = grown.embeddings[300:].astype(np.float32)
    assert [found.rows[0] for found in after.search(new, top=1)] == list(range(300, 350))


def test_a_graph_is_made_anew_where_songs_are_gone(small):
    make(small)
    left, _ = remove(small.path, small.names[:10])
    with pytest.raises(IndexFileError, match="outdated"):
        open_graph(left)
    linked = []
    make(left, progress=lambda done, total: linked.append(total))
    assert linked[-1] == 290
    assert len(open_graph(left).links.levels) == 290


def test_no_graph_and_no_songs(small):
    with pytest.raises(IndexFileError, match="no graph.*mirex index"):
        open_graph(small)
    nothing, _ = remove(small.path, small.names)
    with pytest.raises(UsageError, match="no song"):
        make(nothing)


def test_without_faiss(small, monkeypatch):
    monkeypatch.setattr("mirex.extras.find_spec", lambda name: None)
    for act in (make, open_graph):
        with pytest.raises(MirexError, match=r"pip install .*\[faiss\]"):
            act(small)


def test_a_damaged_index_is_not_linked(small):
    data = bytearray(small.path.read_bytes())
    data[data.index(small.embeddings[3].tobytes())] ^= 1
    small.path.write_bytes(data)
    with pytest.raises(IndexFileError, match="embeddings"):
        make(Index(small.path))
    assert not path_of(small.path).exists()


def test_a_graph_appears_whole_or_not_at_all(small, monkeypatch):
    make(small)
    before = path_of(small.path).read_bytes()

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mirex.retrieval.index_file._write_part", fail)
    with pytest.raises(IndexFileError, match="No space left"):
        make(small)
    assert path_of(small.path).read_bytes() == before
    assert len(list(small.path.parent.iterdir())) == 2


def rewritten(graph, **changed):
    """The graph's file with some of its links replaced, their hashes right."""
    given = graph.links
    links = {"levels": given.levels, "neighbours": given.neighbours, "entry": given.entry}
    graph_file.write(
        path_of(graph.index.path),
        Links(**(links | changed)),
        embeddings=graph.index.embeddings_hash,
        recall=Recall(1.0, 1, 1, 0.1),
    )


def test_links_that_lead_astray_are_refused(small):
    graph = make(small)
    levels, neighbours = graph.links.levels, graph.links.neighbours
    high = int(np.argmax(levels))
    slot = int(graph.links.offsets[high]) + 2 * graph_file.DEGREE
    ground = int(np.argmin(levels))

    def with_neighbour(slot, value):
        changed = neighbours.copy()
        changed[slot] = value
        return {"neighbours": changed}

    def with_level(row, value):
        changed = levels.copy()
        changed[row] = value
        return {"levels": changed}

    assert levels[high] > 1 == levels[ground]
    for changed, message in (
        (with_neighbour(0, 300), "do not exist"),
        (with_neighbour(0, -2), "do not exist"),
        (with_neighbour(slot, ground), "level 1"),
        (with_level(0, 0), "levels"),
        (with_level(0, 7), "levels"),
        (with_level(ground, 2), "do not exist"),
        ({"neighbours": neighbours[:-1]}, "do not exist"),
        ({"entry": 300}, "entry"),
        ({"entry": -1}, "entry"),
        ({"entry": ground}, "entry"),
    ):
        rewritten(graph, **changed)
        with pytest.raises(IndexFileError, match=message):
            open_graph(small)
    rewritten(graph)
    open_graph(small)


@pytest.mark.parametrize("position", [0, 9, 30, 4096, -1])
def test_a_damaged_graph_is_refused(small, position):
    make(small)
    path = path_of(small.path)
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)
    with pytest.raises(IndexFileError, match="make it again"):
        open_graph(small)
    make(small)
    assert open_graph(small).recall.share > 0.98


def test_an_index_is_no_graph(small):
    path_of(small.path).write_bytes(small.path.read_bytes())
    with pytest.raises(IndexFileError, match="not a graph"):
        open_graph(small)
    make(small).links  # noqa: B018 (what lies there is replaced)
    with pytest.raises(IndexFileError, match="not an index"):
        Index(path_of(small.path))


def test_reading_a_graph_needs_no_faiss(small, monkeypatch):
    make(small)
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert len(graph_file.read(path_of(small.path))[0].levels) == 300
