"""A whole extraction as an evaluator runs it: `run_extract.sh` on many tracks, start-up included.

    PYTHONPATH=tests python tests/benchmarks/whole_run.py [--tracks 1000] [--workers 2 1] [--json FILE]
    PYTHONPATH=tests python tests/benchmarks/whole_run.py --tracks 200 --seconds 120 420 --backend openvino

Makes tracks of 210 s at 22,050 Hz, mono, WAV of 16 bits (9.3 MB each): a dozen songs made by code with noise,
and in each file an end of its own, so that no two are the same recording. They are in the page cache when a
run begins. Every run begins with an empty scratch folder. With fewer tracks the time of 1,000 is estimated
from two runs, one of them of a track a worker, and the table says so. Memory is that of the largest process;
it grows with the number of different lengths, above all with OpenVINO, which packs the weights again for some
of them. MIREX_WEIGHTS names other weights than the shipped ones.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from synthesis import RATE, song

SECONDS = 210
SONGS = 12
OWN_END = 10  # seconds
NOISE = 0.02
ALL = 1000
ROOT = Path(__file__).parents[2]
CHILD = (
    "import resource, subprocess, sys; status = subprocess.call(sys.argv[1:], stdout=sys.stderr); "
    "usage = resource.getrusage(resource.RUSAGE_CHILDREN); "
    "print(status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)"
)

Run = dict[str, Any]


def main() -> None:
    """Make tracks, run, print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tracks", type=int, default=ALL, help="more than the workers (default 1000)")
    parser.add_argument("--workers", type=int, nargs="+", default=[2, 1], help="a run each (default 2 1)")
    parser.add_argument("--backend", choices=("torch", "openvino"), default="torch")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--seconds", type=int, nargs="+", default=[SECONDS], metavar="S",
        help="length of the tracks (default 210), or the shortest and the longest",
    )  # fmt: skip
    parser.add_argument("--folder", type=Path, help="for tracks (9.3 MB each); default: a temporary one")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was measured")
    args = parser.parse_args()
    if args.tracks <= max(args.workers):
        parser.error("--tracks: more than workers are needed")
    shortest, longest = args.seconds[0], args.seconds[-1]
    if len(args.seconds) > 2 or not 0 < shortest <= longest:
        parser.error("--seconds: give one length, or the shortest and the longest")
    with tempfile.TemporaryDirectory(dir=args.folder) as temporary:
        folder = Path(temporary)
        paths = write_tracks(folder, args.tracks, seconds=shortest, longest=longest)
        how = {"backend": args.backend, "device": args.device}
        runs = [measure(paths, folder, workers=number, **how) for number in args.workers]
    machine = {"cores": len(os.sched_getaffinity(0)), "processor": platform.processor()}
    report = {**machine, "seconds": [shortest, longest], "runs": runs}
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    print(table(report))


def write_tracks(
    folder: Path, count: int, *, seconds: int = SECONDS, longest: int | None = None
) -> list[Path]:
    """WAV files, all different: each in turn one of a few songs, with an end of its own.

    All of one length, or of lengths drawn between `seconds` and `longest`.
    """
    longest = longest or seconds
    songs = []
    for number in range(min(SONGS, count)):
        noise = np.random.default_rng([0, number]).standard_normal(longest * RATE, np.float32)
        songs.append(0.8 * song(number, seconds=longest, transpose=number // 5) + NOISE * noise)
    end = min(OWN_END, seconds) * RATE
    paths = []
    for number in range(count):
        length = np.random.default_rng([2, number]).integers(seconds * RATE, longest * RATE, endpoint=True)
        samples = songs[number % len(songs)][:length].copy()
        own = np.random.default_rng([1, number]).standard_normal(end, np.float32)
        samples[-end:] = 0.5 * samples[-end:] + 2 * NOISE * own
        paths.append(folder / f"{number:04d}.wav")
        soundfile.write(paths[-1], samples, RATE, subtype="PCM_16")
    return paths


def measure(paths: list[Path], folder: Path, *, workers: int, backend: str, device: str = "cpu") -> Run:
    """All tracks; before that a track a worker, which is mostly start-up."""
    few = extract(paths[:workers], folder, workers=workers, backend=backend, device=device)
    found = extract(paths, folder, workers=workers, backend=backend, device=device)
    each = (found["wall"] - few["wall"]) / (len(paths) - workers)
    return found | {"first": few["wall"], "all": found["wall"] + (ALL - len(paths)) * each}


def extract(paths: list[Path], folder: Path, *, workers: int, backend: str, device: str = "cpu") -> Run:
    """One run of the script, in a process of its own that waits for it and for nothing else."""
    listed, scratch = folder / "list.txt", folder / "scratch"
    listed.write_text("".join(f"{path}\n" for path in paths), "utf-8")
    shutil.rmtree(scratch, ignore_errors=True)
    options = ["-numThreads", str(workers), "--backend", backend, "--device", device, "--strict"]
    script = [str(ROOT / "run_extract.sh"), *options, str(scratch), str(listed)]
    command = [sys.executable, "-c", CHILD, *script]
    start = time.perf_counter()
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    wall = time.perf_counter() - start
    status, processor, largest = output.split()
    if status != "0":
        raise SystemExit(f"run_extract.sh ended with status {status}")
    return {
        "tracks": len(paths),
        "workers": workers,
        "backend": backend if device == "cpu" else f"{backend}, {device}",
        "wall": wall,
        "processor": float(processor),
        "mebibytes": int(largest) / (1024**2 if sys.platform == "darwin" else 1024),
    }


def table(report: dict[str, Any]) -> str:
    """Markdown."""
    lines = [
        f"{report['cores']} cores; tracks of {' to '.join(map(str, dict.fromkeys(report['seconds'])))} s",
        "",
        "| backend | workers | tracks | wall s | processor s a track | MiB of the largest process | "
        f"a track a worker, wall s | {ALL:,} tracks, wall s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for run in report["runs"]:
        said = "" if run["tracks"] == ALL else f" (estimated from {run['tracks']})"
        lines.append(
            f"| {run['backend']} | {run['workers']} | {run['tracks']} | {run['wall']:.1f} | "
            f"{run['processor'] / run['tracks']:.3f} | {run['mebibytes']:.0f} | {run['first']:.1f} | "
            f"{run['all']:.0f}{said} |"
        )
    return "\n".join(lines + quicker(report["runs"]))


def quicker(runs: list[Run]) -> list[str]:
    """How many times as quick several workers are as one, where both were measured."""
    alone = [run for run in runs if run["workers"] == 1]
    return [
        f"\n{run['workers']} workers are {alone[0]['wall'] / run['wall']:.2f} times as quick as one."
        for run in runs
        if alone and run["workers"] > 1
    ]


if __name__ == "__main__":
    main()
