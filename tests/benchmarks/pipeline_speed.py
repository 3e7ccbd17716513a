"""Speed and memory of extraction, from audio files to embeddings.

    PYTHONPATH=. python tests/benchmarks/pipeline_speed.py [--weights FILE] [--hours 1]

1. Shares of decoding, CQT and network on the demo, in this process, one thread: medians of processor time.
2. End to end: `mirex.extract` on the demo with 1 and 2 threads, starting processes included.
3. Memory: largest of any process, for one long stereo file at 44,100 Hz, which is extracted alone.

Without shipped weights, random ones take their place: the speed is the same.

Measured on an AMD EPYC (Zen 4, virtual, two cores) with PyTorch 2.13.0 for the CPU. The demo, 730 s of
audio, processor time: decoding 0.32 s (16 %), CQT 0.67 s (35 %), network 0.93 s (49 %), together 382 s of
audio a second; end to end 3.8 s wall with one worker, 2.8 s with two. One hour in stereo at 44,100 Hz:
11.7 s, 722 MiB at most.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

DEMO = sorted((Path(__file__).parent.parent / "demo").glob("*.ogg"))
CHILD = """
import sys, mirex
paths, scratch, threads, weights = sys.argv[4:], sys.argv[1], int(sys.argv[2]), sys.argv[3]
found = mirex.extract(paths, scratch=scratch, threads=threads, device="cpu", weights=weights, strict=True)
assert found.computed == len(paths)
"""


def usable_weights(folder: Path, given: Path | None) -> Path:
    """The given weights, the shipped ones, or random ones."""
    from mirex.model import weights
    from mirex.model.network import TwoViewNetwork, tensors_of
    from mirex.settings import FrontEndSettings, NetworkSettings

    path = given or weights.default_path()
    if given is None and not path.is_file():
        path = folder / "random.safetensors"
        state, settings = tensors_of(TwoViewNetwork()), NetworkSettings()
        weights.save(state, front_end=FrontEndSettings(), settings=settings, metadata={}, path=path)
    return path


def audio_seconds(paths: list[Path]) -> float:
    """Length of all files together."""
    return sum(soundfile.info(path).duration for path in paths)


def shares(weights_path: Path, *, repeats: int) -> dict[str, float]:
    """Processor seconds of each part for the whole demo, medians over repeats."""
    import torch

    from mirex.features import cqt
    from mirex.features.audio import decode
    from mirex.model import weights
    from mirex.model.embedding import embed

    torch.set_num_threads(1)
    sealed = weights.load(weights_path)
    found: dict[str, list[float]] = {"decode": [], "CQT": [], "network": []}
    for _ in range(repeats + 1):
        samples = _timed(found["decode"], partial(_each, decode, DEMO))
        columns = _timed(found["CQT"], partial(_each, cqt.columns, samples))
        _timed(found["network"], partial(embed, columns, sealed=sealed))
    return {name: statistics.median(values[1:]) for name, values in found.items()}  # the first one warms up


def _each(call: Callable[[Any], Any], arguments: Iterable[Any]) -> list[Any]:
    return [call(argument) for argument in arguments]


def _timed(into: list[float], call: Callable[[], Any]) -> Any:
    start = time.process_time()
    result = call()
    into.append(time.process_time() - start)
    return result


def end_to_end(paths: list[Path], folder: Path, *, threads: int, weights_path: Path) -> tuple[float, float]:
    """Wall and processor seconds of a process of its own that extracts the files."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    arguments = [str(folder / f"scratch-{threads}"), str(threads), str(weights_path), *map(str, paths)]
    subprocess.run([sys.executable, "-c", CHILD, *arguments], check=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def write_long_file(path: Path, *, hours: float) -> None:
    """Music of that length, stereo at 44,100 Hz, 16 bits."""
    samples, rate = soundfile.read(DEMO[0], dtype="float32")
    block = np.repeat(samples, 2)[:, None] * np.array([1.0, 0.7], np.float32)
    with soundfile.SoundFile(path, "w", 2 * rate, 2) as file:
        left = int(hours * 3600 * 2 * rate)
        while left > 0:
            file.write(block[:left])
            left -= len(block)


def print_shares(weights_path: Path, *, repeats: int) -> None:
    """Table 1."""
    found, seconds = shares(weights_path, repeats=repeats), audio_seconds(DEMO)
    total = sum(found.values())
    print(f"{len(DEMO)} files, {seconds:.0f} s of audio\n")
    print("| part | processor s | share | audio s per s |\n|---|---|---|---|")
    for name, value in [*found.items(), ("all", total)]:
        print(f"| {name} | {value:.2f} | {value / total:.0%} | {seconds / value:.0f} |")


def print_end_to_end(folder: Path, weights_path: Path) -> None:
    """Table 2."""
    seconds = audio_seconds(DEMO)
    print("\n| threads | wall s | processor s | audio s per s of wall |\n|---|---|---|---|")
    for threads in (1, 2):
        wall, processor = end_to_end(DEMO, folder, threads=threads, weights_path=weights_path)
        print(f"| {threads} | {wall:.1f} | {processor:.1f} | {seconds / wall:.0f} |")


def print_long(folder: Path, weights_path: Path, *, hours: float) -> None:
    """The memory of a long file; the largest of all children so far, and this one is by far the largest."""
    path = folder / "long.wav"
    write_long_file(path, hours=hours)
    wall, processor = end_to_end([path], folder / "long", threads=1, weights_path=weights_path)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"\none file of {hours:g} h: {wall:.1f} s wall, {processor:.1f} s processor, {peak:.0f} MiB")


def main() -> None:
    """Print the tables in Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--hours", type=float, default=1.0)
    args = parser.parse_args()
    print(f"{len(os.sched_getaffinity(0))} usable cores")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        weights_path = usable_weights(folder, args.weights)
        print_shares(weights_path, repeats=args.repeats)
        print_end_to_end(folder, weights_path)
        print_long(folder, weights_path, hours=args.hours)


if __name__ == "__main__":
    main()
