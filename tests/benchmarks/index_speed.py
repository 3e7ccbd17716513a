"""Time and memory of a large index: exact search, approximate search, opening, appending.

    PYTHONPATH=. OMP_NUM_THREADS=1 python tests/benchmarks/index_speed.py [--songs 100000] [--approximate]

Made embeddings, 2,048 values each, in clusters of ten on average, as works with versions are: 100,000 are an
index of 400 MB. Each part is measured in a process of its own, on one thread; times of opening and searching
are medians of repeats. Memory is the largest of the process, in which the pages of the mapped index count as
far as they were read. `--approximate` also makes the graph (needs the extra `faiss`; minutes).
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from mirex.retrieval.index import Index, Songs, append

SIZE = 2048
VERSIONS = 10
SPREAD = 1.0  # within a work, as many times what lies between works
BATCH = 100
APPENDED = 100
REPEATS = 5
MARKS = {"front_end": "made", "cqt": "made", "weights": "made"}

Table = dict[str, tuple[float, str]]
"""{what: (figure, unit)}."""


def main() -> None:
    """Make an index, measure, print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--songs", type=int, default=100_000, help="in the index (default 100000)")
    parser.add_argument("--approximate", action="store_true", help="also the graph; needs the extra faiss")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="make the index there and keep it")
    parser.add_argument("--part", choices=sorted(PARTS), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        print(json.dumps(PARTS[args.part](args.keep / "songs.mirex", args.songs)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        print(table(measure(folder, songs=args.songs, approximate=args.approximate)))


def measure(folder: Path, *, songs: int, approximate: bool) -> Table:
    """All figures; each part in a process of its own. The index is made if it is not there."""
    found: Table = {}
    # Making is a process of its own too: what this one holds would count as memory of its children. What
    # appends comes last: it makes the graph stale.
    for part in ("make", "exact", *(("build", "graph") if approximate else ()), "append"):
        command = [sys.executable, __file__, "--keep", str(folder), "--songs", str(songs), "--part", part]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
        found |= {name: tuple(value) for name, value in json.loads(output).items()}
    return found


class MadeSongs:
    """Embeddings in clusters, made block by block: the whole in float64 would not fit a small machine."""

    def __init__(self, count: int, *, seed: int = 0) -> None:
        self.count, self.seed = count, seed

    def songs(self) -> Songs:
        """Names, contents and float16 embeddings."""
        names = [f"/music/{number:07d}.mp3" for number in range(self.count)]
        contents = [f"{number:064x}" for number in range(self.count)]
        return Songs(names, contents, np.concatenate(list(self.blocks())))

    def blocks(self, *, size: int = 1000) -> Iterator[np.ndarray]:
        """float16 [size, 2048] at a time. The works are the same for all seeds, the songs are not."""
        works = max(1, self.count // VERSIONS)
        generator = np.random.default_rng([1, self.seed])
        for start in range(0, self.count, size):
            number = min(size, self.count - start)
            rows = [work(each) for each in generator.integers(0, works, number)]
            noise = generator.standard_normal((number, SIZE), np.float32)
            vectors = np.stack(rows) + SPREAD * noise
            yield (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


def work(number: int) -> np.ndarray:
    """float32 [2048]: the middle of a work's versions."""
    return np.random.default_rng([0, number]).standard_normal(SIZE, np.float32)


def queries_of(index: Index, *, seed: int = 1) -> np.ndarray:
    """Further versions of works that are in the index, float32 [100, 2048]."""
    generator = np.random.default_rng([2, seed])
    works = [work(each) for each in generator.integers(0, max(1, len(index) // VERSIONS), BATCH)]
    return np.stack(works) + SPREAD * generator.standard_normal((BATCH, SIZE), np.float32)


def seconds(call: Callable[[], object], *, repeats: int = REPEATS) -> float:
    """Median of wall seconds, after one call that is not counted."""
    found = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return statistics.median(found[1:])


def memory() -> tuple[float, str]:
    """The largest of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "MiB"


def make(path: Path, songs: int) -> Table:
    """The index, if it is not there."""
    if not path.exists():
        Index.create(path, MadeSongs(songs).songs(), fingerprints=MARKS)
    return {"songs": (len(Index(path)), ""), "bytes": (path.stat().st_size / 1e6, "MB")}


def exact(path: Path, songs: int) -> Table:
    """Opening, one query, and a batch."""
    index = Index(path)
    queries = queries_of(index)
    found = {
        "opened, with its names": (1e3 * seconds(lambda: Index(path).names), "ms"),
        "one query, exact": (1e3 * seconds(lambda: index.search(queries[:1])), "ms"),
        f"a query of {BATCH} at once, exact": (
            1e3 * seconds(lambda: index.search(queries), repeats=3) / BATCH,
            "ms",
        ),
    }
    return found | {"memory of exact search": memory()}


def build(path: Path, songs: int) -> Table:
    """The graph is made."""
    from mirex.retrieval.graph import make
    from mirex.retrieval.graph_file import path_of

    start = time.perf_counter()
    graph = make(Index(path))
    return {
        "graph made, recall measured": (time.perf_counter() - start, "s"),
        "bytes of the graph": (path_of(path).stat().st_size / 1e6, "MB"),
        "memory of that": memory(),
        f"recall@{graph.recall.top} that mirex says": (graph.recall.share, ""),
    }


def approximate(path: Path, songs: int) -> Table:
    """Opening the graph, one query, a batch, and what is found."""
    from mirex.retrieval.graph import open_graph

    index = Index(path)
    queries = queries_of(index)
    start = time.perf_counter()
    graph = open_graph(index)
    graph.search(queries[:1])
    found = {
        "graph opened, first query": (1e3 * (time.perf_counter() - start), "ms"),
        "one query, approximate": (1e3 * seconds(lambda: graph.search(queries[:1])), "ms"),
        f"a query of {BATCH} at once, approximate": (
            1e3 * seconds(lambda: graph.search(queries)) / BATCH,
            "ms",
        ),
        "memory of approximate search": memory(),
    }
    pairs = zip(index.search(queries), graph.search(queries), strict=True)
    shares = [np.isin(all_.rows, there.rows).mean() for all_, there in pairs]
    return found | {"recall@10 of further versions": (float(np.mean(shares)), "")}


def appended(path: Path, songs: int) -> Table:
    """A few songs are added."""
    more = MadeSongs(APPENDED, seed=1).songs()
    new = Songs([f"/more{name}" for name in more.names], more.contents, more.embeddings)
    start = time.perf_counter()
    append(path, new, fingerprints=MARKS)
    return {
        f"{APPENDED} songs appended": (time.perf_counter() - start, "s"),
        "memory of that append": memory(),
    }


PARTS = {"make": make, "exact": exact, "build": build, "graph": approximate, "append": appended}


def table(found: Table) -> str:
    """Markdown."""
    lines = ["| what | figure |", "|---|---|"]
    for name, (figure, unit) in found.items():
        shown = f"{figure:,.0f}" if figure >= 100 or (not unit and figure > 1) else f"{figure:.3g}"
        lines.append(f"| {name} | {shown} {unit}".rstrip() + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
