"""Runs of the product as an evaluator makes them, and what is asked of each of them."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mirex.formats.check import violations
from mirex.formats.matrix import read_matrix

ROOT = Path(__file__).resolve().parents[2]
DEFECTS = re.compile(r"Traceback|a defect of the program|(?<!mirex: error: )\b\w+Error:")


_started: list["subprocess.Popen[str]"] = []


class Setting(NamedTuple):
    """Where a run happens: a list of recordings, the weights, and a folder for all that it writes."""

    list_file: Path
    weights: Path
    folder: Path

    @property
    def matrix(self) -> Path:
        """The output file."""
        return self.folder / "matrix.txt"

    @property
    def scratch(self) -> Path:
        """The working directory."""
        return self.folder / "scratch"


def command(setting: Setting, *options: str) -> list[str]:
    """The list against itself: the command of `run_query.sh`, without its search for an environment."""
    lists = [str(setting.list_file)] * 2
    return [*_words("query", setting), *options, *lists, str(setting.scratch), str(setting.matrix)]


def extract_command(setting: Setting, *options: str) -> list[str]:
    """The list into the scratch folder: the command of `run_extract.sh`, likewise."""
    return [*_words("extract", setting), *options, str(setting.scratch), str(setting.list_file)]


def _words(name: str, setting: Setting) -> list[str]:
    fixed = ["--weights", str(setting.weights), "--device", "cpu", "-numThreads", "2"]
    return [sys.executable, "-P", "-m", "mirex", name, *fixed]


def environment() -> dict[str, str]:
    """The process's environment, with this checkout's code."""
    ours = {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "MIREX_PROGRAM": "run_query.sh"}
    return {**os.environ, **ours}


def run(words: Sequence[str], *, seconds: float, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run to the end; what has not ended by then is killed, which its status and its output say."""
    try:
        return subprocess.run(
            words,
            env=environment(),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="backslashreplace",
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        hangs = f"mirex: error: hangs: killed after {seconds:.0f} s"
        return subprocess.CompletedProcess(words, -signal.SIGKILL, stdout=f"{hangs}, which is a defect")


def start(words: Sequence[str], *, cwd: Path) -> "subprocess.Popen[str]":
    """Start a run in a process group of its own; its output goes nowhere. `end_started` ends what is left."""
    process = subprocess.Popen(
        words,
        env=environment(),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    _started.append(process)
    return process


def end_started() -> None:
    """Kill the runs of `start` that have not ended."""
    for process in _started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    _started.clear()


def failures(scratch: Path) -> dict[str, str]:
    """Reasons of `failed.tsv` by path."""
    path = scratch / "failed.tsv"
    lines = path.read_text("utf-8", "surrogateescape").splitlines() if path.exists() else []
    return dict(line.split("\t", 1) for line in lines)


def wrong_with_matrix(setting: Setting) -> list[str]:
    """What is wrong with the output of a run that says it is complete."""
    if not setting.matrix.is_file():
        return ["no matrix, though the run says it is complete"]
    wrong = [str(each) for each in violations(str(setting.matrix)) if each.severity == "error"]
    matrix = read_matrix(setting.matrix)
    failed = failures(setting.scratch)
    for row, name in enumerate(matrix.names):
        others = [value for column, value in enumerate(matrix.distances[row]) if column != row]
        if name in failed and any(value != 2.0 for value in others):
            wrong.append(f"{name}: failed, yet not at distance 2.0 from all others")
        if name not in failed and others and all(value == 2.0 for value in others):
            wrong.append(f"{name}: at distance 2.0 from all others, yet not in failed.tsv")
    return wrong
