"""Time and memory of evaluating a large matrix, from its file to the printed metrics.

    python tests/benchmarks/evaluate_speed.py [--recordings 10000] [--versions 10] [--keep FOLDER]

Writes a random matrix (every recording a query) and runs `mirex evaluate` on it in a process of its own.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

CHILD = "import sys; from mirex.cli import main; sys.exit(main(sys.argv[1:]))"


def write_problem(folder: Path, *, recordings: int, versions: int) -> None:
    """matrix.txt and cliques.tsv: covers nearer on average, about as hard as real data."""
    from mirex.formats.matrix import write_matrix

    generator = np.random.default_rng(0)
    names = [f"/data/audio/{i:05d}.wav" for i in range(recordings)]
    cliques = np.arange(recordings) // versions

    def rows():
        for query in range(recordings):
            distances = generator.normal(0.9, 0.1, recordings).astype(np.float32)
            distances[cliques == cliques[query]] -= np.float32(0.25)
            distances[query] = 0
            yield np.clip(distances, 0, 2)[None]

    write_matrix(folder / "matrix.txt", names=names, query_positions=np.arange(recordings), rows=rows())
    lines = [f"{name}\t{clique}\n" for name, clique in zip(names, cliques, strict=True)]
    (folder / "cliques.tsv").write_text("".join(lines))


def measure(folder: Path) -> dict[str, float]:
    """Run `mirex evaluate --json` and report its wall time, processor time and largest memory."""
    files = [str(folder / name) for name in ("matrix.txt", "cliques.tsv")]
    command = [sys.executable, "-c", CHILD, "evaluate", *files, "--json"]
    start = time.perf_counter()
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds = time.perf_counter() - start
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = json.loads(output)["metrics"]
    return {
        "wall seconds": round(seconds, 1),
        "processor seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "largest memory, MiB": round(usage.ru_maxrss / 1024),
        "MAP": round(found["map"]["value"], 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recordings", type=int, default=10_000)
    parser.add_argument("--versions", type=int, default=10)
    parser.add_argument("--keep", type=Path, help="write the matrix there and keep it")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        start = time.perf_counter()
        write_problem(folder, recordings=args.recordings, versions=args.versions)
        written = round(time.perf_counter() - start, 1)
        size = os.path.getsize(folder / "matrix.txt") / 2**20
        print(f"matrix of {args.recordings} x {args.recordings}: {size:.0f} MiB, written in {written} s")
        for name, value in measure(folder).items():
            print(f"{name}: {value}")


if __name__ == "__main__":
    main()
