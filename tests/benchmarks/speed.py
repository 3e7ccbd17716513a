"""How fast every stage is, beside other ways to do it and beside the machine's limits, in one run.

    PYTHONPATH=.:tests OMP_NUM_THREADS=1 python -m benchmarks.speed --json tests/benchmarks/speed.json

takes a few minutes and prints the table that README shows; `--table tests/benchmarks/speed.json` prints it
again, with `--readme README.md` also into that file, between its lines `<!-- speed -->`. `--plot growth.png`
draws how times grow with length, tracks, threads and the matrix; the points are `growth` in the JSON. The
unit of the stages is one MIREX track: 210 s of music at 22,050 Hz, mono.

Candidates of a stage take turns, and each is compared with ours within its turn: what another process takes
from the machine hits all of them. Stages are measured in processor seconds of one thread; runs end to end
in seconds of wall time, processes started and weights loaded. Essentia's loop is measured on 30 s of the
track and multiplied. Other systems (librosa, onnxruntime, openvino) are left out where they are missing:

    pip install '.[fast,export]' librosa onnxruntime
"""

import argparse
import dataclasses
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from benchmarks import speed_table
from mirex._typing import Array, Samples
from mirex.errors import MirexError
from mirex.features import cqt
from mirex.features.audio import decode
from mirex.formats.matrix import write_matrix
from mirex.model import backend, weights
from mirex.model.embedding import embed
from mirex.model.network import ResNet50IBN
from mirex.model.weights import Sealed
from mirex.retrieval.distance import rows
from mirex.settings import FrontEndSettings

DEMO = sorted((Path(__file__).parents[1] / "demo").glob("*.ogg"))
RATE = 22_050
TRACK = 210  # seconds
EXCERPT = 30  # seconds, for what is too slow for a whole track
PACKAGES = ("torch", "numpy", "essentia", "librosa", "onnxruntime", "openvino")
CHILD = """
import resource, sys, mirex
scratch, threads, backend, weights, *paths = sys.argv[1:]
options = {"threads": int(threads), "backend": backend, "weights": weights, "device": "cpu"}
mirex.extract(paths, scratch=scratch, strict=True, **options)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""

Candidates = Mapping[str, Callable[[], object]]
OURS = speed_table.OURS


def main() -> None:
    """Measure, or read what was measured; print the table."""
    args = parse()
    if args.table:
        report = json.loads(args.table.read_text("utf-8"))
    else:
        torch.set_num_threads(1)
        with tempfile.TemporaryDirectory() as temporary:
            report = measure_all(Path(temporary), args)
        if args.json:
            args.json.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    print(speed_table.table(report))
    if args.readme:
        text = args.readme.read_text("utf-8")
        args.readme.write_text(speed_table.placed(speed_table.table(report), text), "utf-8")
    if args.plot:
        speed_table.plot(report, args.plot)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was measured")
    parser.add_argument("--table", type=Path, metavar="FILE", help="measure nothing: print that file's table")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw the growth (needs the extra plots)")
    parser.add_argument("--readme", type=Path, metavar="FILE", help="put the table into that file")
    parser.add_argument("--repeats", type=int, default=5, help="turns of each stage (default 5)")
    parser.add_argument("--matrix", type=int, default=4_000, help="rows and columns (default 4000)")
    parser.add_argument("--weights", type=Path, default=weights.default_path(), help="instead of the shipped")
    parser.add_argument("--hours", type=float, default=1.0, help="of the long recording (default 1)")
    return parser.parse_args()


def measure_all(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Everything, as it is written to JSON."""
    repeats = args.repeats
    # From here on nothing is random but the matrix's embeddings, and the music is the demo's.
    music = np.resize(np.concatenate([decode(path) for path in DEMO]), 4 * TRACK * RATE)
    track = write_track(folder / "track.wav", music)
    sealed, others, skipped = systems(folder, args.weights)
    columns = cqt.columns(decode(track))
    stages = {
        "decode": turns(decoders(track), repeats),
        "constant-Q transform": turns(transforms(decode(track)), repeats),
        "network": turns(networks(columns, sealed, others), repeats),
        "track, audio to embedding": turns(whole(track, sealed, others), repeats),
        f"matrix of {args.matrix:,} x {args.matrix:,}": turns(
            matrices(folder, args.matrix), max(2, repeats // 2)
        ),
    }
    if metadata_of("librosa") is None:
        skipped["librosa"] = "not installed"
    return {
        "machine": machine(),
        "track_seconds": TRACK,
        "skipped": skipped,
        "stages": stages,
        "growth": growth(folder, music, sealed, args.weights),
        "long": long_recording(folder, music, args.weights, hours=args.hours),
    }


def machine() -> dict[str, Any]:
    """What it ran on."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "").split()
    wanted = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16")
    return {
        "processor": names[0] if names else platform.processor(),
        "instructions": [name for name in wanted if name in flags],
        "cores": len(os.sched_getaffinity(0)),
        "packages": {name: version for name in PACKAGES if (version := metadata_of(name))},
    }


def metadata_of(package: str) -> str | None:
    """Its version, None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def write_track(path: Path, music: Samples, *, number: int = 0) -> Path:
    """A WAV file of 16 bits; each number begins elsewhere in the music."""
    begin = number * RATE * 17
    soundfile.write(path, music[begin : begin + TRACK * RATE], RATE, subtype="PCM_16")
    return path


def turns(candidates: Candidates, repeats: int) -> dict[str, list[float]]:
    """Processor seconds of each candidate in each turn; one turn before them warms up."""
    found: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(repeats + 1):
        for name, call in candidates.items():
            start = time.process_time()
            scale = call()
            seconds = time.process_time() - start
            if turn:
                found[name].append(seconds * (scale if isinstance(scale, float) else 1.0))
    return found


def scaled(call: Callable[[], object], factor: float) -> Callable[[], float]:
    """A call that stands for `factor` times itself."""

    def measured() -> float:
        call()
        return factor

    return measured


# --- the systems --------------------------------------------------------------------------------


def systems(folder: Path, path: Path) -> tuple[Sealed, dict[str, Sealed], dict[str, str]]:
    """Our network by torch; by others, as far as they are installed; reasons for those left out."""
    sealed = weights.load(path)
    others: dict[str, Sealed] = {}
    skipped: dict[str, str] = {}
    for name, make in (
        ("openvino", partial(openvino_system, path)),
        ("onnxruntime", partial(onnx_system, sealed, folder)),
    ):
        try:
            others[name] = make()
        except (ImportError, MirexError) as error:
            skipped[name] = str(error)
    return sealed, others, skipped


def openvino_system(path: Path) -> Sealed:
    """`--backend openvino`."""
    return weights.load(path, backend="openvino")


def onnx_system(sealed: Sealed, folder: Path) -> Sealed:
    """The exported network in ONNX Runtime, on one thread."""
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    views = argparse.Namespace()
    for view in backend.VIEWS if sealed.settings.chroma_weight > 0 else backend.VIEWS[:1]:
        whole, path = folder / f"{view}-both.onnx", folder / f"{view}.onnx"
        backend.export_onnx(sealed, whole, view=view)
        onnx.utils.extract_model(whole, path, ["windows"], ["embedding"])
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        setattr(views, view, OnnxNetwork(session, getattr(sealed.network, view)))
    return sealed._replace(network=views)  # type: ignore[arg-type]


class OnnxNetwork:
    """In place of a network, for `embed`; the second moments are the project's own."""

    def __init__(self, session: Any, own: ResNet50IBN) -> None:
        self.session, self.infer_moments = session, own.infer_moments

    def infer(self, windows: Array) -> Array:
        """The embeddings of windows."""
        return self.session.run(None, {"windows": windows[:, None]})[0]


def librosa_columns(samples: Samples) -> Array:
    """librosa's constant-Q magnitudes, averaged as ours: not our definition, but the same size."""
    import librosa

    found = np.abs(librosa.cqt(samples, sr=RATE, hop_length=512, fmin=32.703, n_bins=84))
    frames = found.shape[1] // 20 * 20
    return found[:, :frames].reshape(84, -1, 20).mean(axis=2).astype(np.float32)


# --- the stages ---------------------------------------------------------------------------------


def decoders(track: Path) -> Candidates:
    """File to samples."""
    return {
        OURS: partial(decode, track),
        "limit: soundfile alone": partial(soundfile.read, track, dtype="float32"),
    }


def transforms(samples: Samples) -> Candidates:
    """Samples to columns."""
    excerpt, factor = samples[: EXCERPT * RATE], TRACK / EXCERPT
    other = dataclasses.replace(FrontEndSettings(), threshold=0.01)
    essentia = partial(cqt.columns, excerpt, implementation="essentia")
    found: dict[str, Callable[[], object]] = {
        OURS: partial(cqt.columns, samples),
        "Essentia's loop (the reference)": scaled(essentia, factor),
        "Essentia's loop, its default threshold": scaled(partial(essentia, settings=other), factor),
    }
    if metadata_of("librosa"):
        found["librosa.cqt"] = partial(librosa_columns, samples)
    return found


def networks(columns: Array, sealed: Sealed, others: Mapping[str, Sealed]) -> Candidates:
    """Columns to embedding; the limit is a matrix product of as many operations."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        embed([columns], sealed=sealed)
    square = torch.rand(1024, 1024)
    limit = scaled(partial(torch.mm, square, square), counter.get_total_flops() / (2 * 1024**3))
    found: dict[str, Callable[[], object]] = {OURS: partial(embed, [columns], sealed=sealed)}
    found |= {named(name): partial(embed, [columns], sealed=other) for name, other in others.items()}
    return found | {"limit: matrix product": limit}


def named(name: str) -> str:
    """How a system stands in the table."""
    return {"openvino": "mirex, --backend openvino", "onnxruntime": "ONNX Runtime"}[name]


def whole(track: Path, sealed: Sealed, others: Mapping[str, Sealed]) -> Candidates:
    """File to embedding."""

    def ours(system: Sealed) -> Array:
        return embed([cqt.columns(decode(track))], sealed=system)

    def assembled(system: Sealed) -> Array:
        return embed([librosa_columns(soundfile.read(track, dtype="float32")[0])], sealed=system)

    found: dict[str, Callable[[], object]] = {OURS: partial(ours, sealed)}
    if "openvino" in others:
        found[named("openvino")] = partial(ours, others["openvino"])
    if "onnxruntime" in others and metadata_of("librosa"):
        found["librosa + ONNX Runtime"] = partial(assembled, others["onnxruntime"])
    return found


def matrices(folder: Path, size: int) -> Candidates:
    """Embeddings to the file of their distances, and what bounds that."""
    vectors = np.random.default_rng(0).standard_normal((size, 2048)).astype(np.float32)
    names, positions = [f"/m/{number}.wav" for number in range(size)], np.arange(size)
    distances = np.concatenate(list(rows(vectors, vectors, query_positions=positions)))
    path = folder / "matrix.txt"

    def write(given: Any) -> None:
        path.unlink(missing_ok=True)
        write_matrix(path, names=names, query_positions=positions, rows=given)

    def product() -> None:
        for _ in rows(vectors, vectors, query_positions=positions):
            pass

    write(distances)
    text = path.read_bytes()
    part = min(size, 200)
    return {
        OURS: lambda: write(rows(vectors, vectors, query_positions=positions)),
        "of that: distances": product,
        "of that: check, format, write": lambda: write(distances),
        "limit: bytes to the page cache": partial(write_bytes, folder / "bytes", text),
        "limit: matrix product in float64": partial(blocked_product, vectors.astype(np.float64)),
        "product by NumPy, numpy.savetxt": scaled(
            partial(numpy_matrix, folder / "numpy.txt", vectors, part), size / part
        ),
    }


def write_bytes(path: Path, text: bytes) -> None:
    """Into a new file, a mebibyte at a time."""
    path.unlink(missing_ok=True)
    with open(path, "wb", buffering=0) as file:
        for start in range(0, len(text), 1 << 20):
            file.write(text[start : start + (1 << 20)])


def blocked_product(vectors: np.ndarray) -> None:
    """All dot products, a thousand rows at a time, not kept."""
    for start in range(0, len(vectors), 1024):
        part = vectors[start : start + 1024].copy()  # of an array with itself NumPy computes only half
        part @ vectors.T


def numpy_matrix(path: Path, vectors: np.ndarray, queries: int) -> None:
    """The rows of a few queries as most would write them."""
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.savetxt(path, 1 - units[:queries] @ units.T, fmt="%.8f", delimiter="\t")


# --- growth -------------------------------------------------------------------------------------


def growth(folder: Path, music: Samples, sealed: Sealed, path: Path) -> dict[str, Any]:
    """Seconds by length of a track, by number of tracks and threads, and by size of the matrix."""
    lengths = {}
    for seconds in (30, 60, 120, 210, 420, 840):
        samples = music[: seconds * RATE]
        columns = cqt.columns(samples)
        found = turns(
            {"CQT": partial(cqt.columns, samples), "network": partial(embed, [columns], sealed=sealed)}, 3
        )
        lengths[seconds] = {name: statistics.median(values) for name, values in found.items()}
    sizes = {}
    for size in (500, 1_000, 2_000, 4_000):
        found = turns({OURS: matrices(folder, size)[OURS]}, 1)
        sizes[size] = statistics.median(found[OURS])
    return {"length": lengths, "matrix": sizes, "runs": runs(folder, music, path)}


def runs(folder: Path, music: Samples, weights_path: Path) -> list[dict[str, Any]]:
    """Whole runs: wall and processor seconds by number of tracks, threads and backend."""
    paths = [write_track(folder / f"{number}.wav", music, number=number) for number in range(16)]
    options = [(2, 1, "torch"), (8, 1, "torch"), (16, 1, "torch")]
    # At least two, whatever the machine has, and then as many as there are cores for.
    cores = len(os.sched_getaffinity(0))
    options += [(16, threads, "torch") for threads in (2, 4, 8) if threads <= max(2, cores)]
    if metadata_of("openvino"):
        options.append((16, 2, "openvino"))
    found = []
    for tracks, threads, name in options:
        scratch = folder / f"scratch-{tracks}-{threads}-{name}"
        used = [str(path) for path in paths[:tracks]]
        measured = run(used, scratch, weights_path, threads=threads, backend=name)
        found.append({"tracks": tracks, "threads": threads, "backend": name, **measured})
    return found


def run(
    paths: list[str], scratch: Path, weights_path: Path, *, threads: int, backend: str
) -> dict[str, float]:
    """Seconds, and mebibytes of the largest worker, of a process of its own that extracts the files.

    Workers only: what a process forked from holds counts as its own largest, and this one is large.
    """
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    arguments = [str(scratch), str(threads), backend, str(weights_path), *paths]
    command = [sys.executable, "-W", "ignore", "-c", CHILD, *arguments]
    largest = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall": wall, "processor": processor, "mebibytes": int(largest) / 1024}


def long_recording(folder: Path, music: Samples, weights_path: Path, *, hours: float) -> dict[str, float]:
    """Time and memory of one recording in stereo at 44,100 Hz."""
    path = folder / "long.wav"
    block = np.repeat(music, 2)[:, None] * np.array([1.0, 0.7], np.float32)
    with soundfile.SoundFile(path, "w", 2 * RATE, 2) as file:
        left = int(hours * 3600 * 2 * RATE)
        while left > 0:
            file.write(block[:left])
            left -= len(block)
    return {"hours": hours} | run([str(path)], folder / "long", weights_path, threads=1, backend="torch")


if __name__ == "__main__":
    main()
