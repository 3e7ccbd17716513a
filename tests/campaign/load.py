"""Load: ten thousand short files in one list, their whole matrix, and a recording of six hours.

    PYTHONPATH=.:tests python -m campaign --load

takes some twenty minutes on one core. Everything is made by code and goes through the product's own commands;
the weights are random, which costs what real ones cost. Of each step the wall time, and the most memory that
the run itself and one of its workers held, as the kernel counts it.
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from campaign.runs import environment
from synthesis import song

SONGS = 200  # different ones; each file is one of them with other bytes
RATE = 11_025
_POLL = 0.5  # seconds


class Figures(NamedTuple):
    """What a step took: seconds; the most MiB of the run itself, and of any one process that it started."""

    step: str
    seconds: float
    run_mib: float
    worker_mib: float

    def __str__(self) -> str:
        workers = f", a worker {self.worker_mib:.0f} MiB" if self.worker_mib else ""
        return f"{self.step}: {self.seconds:.0f} s, the run {self.run_mib:.0f} MiB{workers}"


def try_load(folder: Path, *, weights: Path, files: int, hours: float) -> list[Figures]:
    """Take every step, and print its figures as it ends.

    Parameters
    ----------
    folder : Path
        For everything that is made: 50 kB a file, 120 kB a squared thousand of files, 90 MB an hour.
    weights : Path
        Sealed weights.
    files : int
        Short files of the list.
    hours : float
        Length of the long recording.

    Returns
    -------
    list of Figures

    Raises
    ------
    RuntimeError
        A step failed; with the end of its log.
    """
    folder.mkdir(parents=True, exist_ok=True)
    many, one = folder / "many.txt", folder / "one.txt"
    many.write_text("".join(f"{path}\n" for path in short_files(folder / "short", count=files)), "utf-8")
    one.write_text(f"{long_file(folder / 'long.flac', hours=hours)}\n", "utf-8")
    scratch, matrix = str(folder / "scratch"), str(folder / "matrix.txt")
    options = ["--weights", str(weights), "--device", "cpu", "-numThreads", "1"]
    steps = {
        f"{files:,} short files to embeddings": ["extract", *options, scratch, str(many)],
        "again, nothing to analyse": ["extract", *options, scratch, str(many)],
        f"matrix of {files:,} x {files:,}": ["query", *options, str(many), str(many), scratch, matrix],
        "that matrix checked": ["check", matrix],
        f"a recording of {hours:g} h": ["extract", *options, scratch, str(one)],
    }
    figures = []
    for step, words in steps.items():
        figures.append(measured(step, [sys.executable, "-P", "-m", "mirex", *words], log=folder / "log.txt"))
        print(figures[-1], flush=True)
    return figures


def short_files(folder: Path, *, count: int) -> list[Path]:
    """WAV files of 1 to 3 s, each with other contents."""
    folder.mkdir(exist_ok=True)
    generator = np.random.default_rng(0)
    songs = [
        (song(number, seconds=float(generator.uniform(1, 3)), rate=RATE) * 32767).astype(np.int16)
        for number in range(min(SONGS, count))
    ]
    paths = []
    for number in range(count):
        samples = songs[number % len(songs)].copy()
        samples[:16] ^= (number >> np.arange(16, dtype=np.int16) & 1).astype(np.int16)  # inaudible
        paths.append(folder / f"{number:06d}.wav")
        soundfile.write(paths[-1], samples, RATE)
    return paths


def long_file(path: Path, *, hours: float) -> Path:
    """A FLAC file of so many hours, written minute by minute."""
    minutes = [song(number, seconds=60, rate=22_050).astype(np.float32) for number in range(10)]
    with soundfile.SoundFile(path, "w", samplerate=22_050, channels=1, format="FLAC") as file:
        for number in range(round(60 * hours)):
            file.write(minutes[number * 7 % 10] * np.float32(0.5 + 0.04 * (number % 11)))
    return path


def measured(step: str, words: Sequence[str], *, log: Path) -> Figures:
    """Run to the end, with an eye on what it and its processes hold.

    Parameters
    ----------
    step : str
        What the figures are of.
    words : sequence of str
        The command.
    log : Path
        For its output.

    Returns
    -------
    Figures

    Raises
    ------
    RuntimeError
        If it fails.
    """
    began, most = time.monotonic(), {"run": 0.0, "worker": 0.0}
    with open(log, "wb") as output:
        process = subprocess.Popen(
            words, env=environment(), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            while process.poll() is None:
                most["run"] = max(most["run"], _peak(process.pid))
                most["worker"] = max([most["worker"], *map(_peak, _children(process.pid))])
                time.sleep(_POLL)
        finally:
            process.kill()
    if process.returncode:
        raise RuntimeError(f"{step}: exit status {process.returncode}: {log.read_text('utf-8')[-500:]}")
    return Figures(step, time.monotonic() - began, most["run"], most["worker"])


def _peak(pid: int) -> float:
    """The most that a process has held so far, in MiB; 0 if it is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text("utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return 0.0


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        tasks = os.listdir(f"/proc/{pid}/task")
        texts = [Path(f"/proc/{pid}/task/{task}/children").read_text("utf-8") for task in tasks]
        return [int(word) for text in texts for word in text.split()]
    return []
