"""Speed of the two implementations of the constant-Q front end, side by side.

    PYTHONPATH=. OMP_NUM_THREADS=1 python tests/benchmarks/cqt_speed.py [--seconds 75] [--repeats 5]

In turns, on the same music; medians of processor time, which other processes hardly disturb. Essentia runs
as sealed (threshold 0) and with its own default threshold of 0.01, which is faster and no longer the
definition. "Start" is what an implementation needs before its first frame, once per call or process.

Measured on one core of an AMD EPYC (Zen 4, virtual), Essentia 2.1b6.dev1389, PyTorch 2.13.0 for the CPU,
75 s of music: Essentia 5.24 s; with its default threshold 0.66 s; matrix 0.066 s, which is 80 times as fast
as the reference and 10 times as fast as the default threshold.
"""

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from mirex.features import cqt
from mirex.features.audio import decode
from mirex.settings import FrontEndSettings

DEMO = Path(__file__).parent.parent / "demo" / "bay.ogg"
SEALED = FrontEndSettings()
DEFAULT = dataclasses.replace(SEALED, threshold=0.01)
CANDIDATES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "essentia, threshold 0": partial(cqt.columns, implementation="essentia", settings=SEALED),
    "essentia, threshold 0.01": partial(cqt.columns, implementation="essentia", settings=DEFAULT),
    "matrix": partial(cqt.columns, implementation="matrix", settings=SEALED),
}


def processor_seconds(call: Callable[[], object]) -> float:
    """Processor time of one call, all threads together."""
    start = time.process_time()
    call()
    return time.process_time() - start


def start_seconds() -> dict[str, float]:
    """First call of each with a signal of one sample; imports done before."""
    import essentia
    import torch  # noqa: F401

    essentia.log.infoActive = False  # it greets otherwise
    import essentia.standard

    sample = np.zeros(1, np.float32)
    return {name: processor_seconds(partial(call, sample)) for name, call in CANDIDATES.items()}


def measure(samples: np.ndarray, *, repeats: int) -> dict[str, float]:
    """Median processor time of each, taken in turns."""
    found: dict[str, list[float]] = {name: [] for name in CANDIDATES}
    for _ in range(repeats):
        for name, call in CANDIDATES.items():
            found[name].append(processor_seconds(partial(call, samples)))
    return {name: statistics.median(values) for name, values in found.items()}


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=75.0, help="of music; the demo file is repeated")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    samples = np.resize(decode(DEMO), int(args.seconds * SEALED.sample_rate))
    starts = start_seconds()
    found = measure(samples, repeats=args.repeats)
    reference = found["essentia, threshold 0"]
    print("| implementation | start, s | processor s | audio s per s | times the reference |")
    print("|---|---|---|---|---|")
    for name, seconds in found.items():
        speed, ratio = args.seconds / seconds, reference / seconds
        print(f"| {name} | {starts[name]:.2f} | {seconds:.3f} | {speed:.0f} | {ratio:.1f} |")


if __name__ == "__main__":
    main()
