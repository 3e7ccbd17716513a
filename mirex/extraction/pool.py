"""A pool of worker processes (`mirex.extraction.worker`) that outlives its workers.

Each process has one recording at a time, so when one dies it is known which recording it had. That
recording is tried once more at the end, alone, in a fresh process; if that dies too, the recording
has failed. The others never notice. One thread per process waits for its answers.

The processes are started as programs of their own, not through multiprocessing, so that `mirex`
works from a script without a main guard, from a notebook and from standard input.
"""

import contextlib
import dataclasses
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mirex import errors

COMMAND = [sys.executable, "-P", "-m", "mirex.extraction.worker"]
_START_ATTEMPTS = 3
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


@dataclasses.dataclass(frozen=True)
class Answer:
    """What came of one recording: arrays (with warnings), or the reason of its failure.

    unexpected: the failure is not the recording's own, as far as this program knows.
    """

    arrays: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    failure: str | None = None
    unexpected: bool = False


class WorkerDied(Exception):
    """The process ended without an answer; the message says how."""


def run(
    paths: Sequence[str], *, setup: dict[str, Any], workers: int
) -> Generator[tuple[int, Answer], None, None]:
    """Analyse recordings in up to `workers` processes; yield (index into paths, answer) as they come.

    setup: see `mirex.extraction.worker`. Raises the `MirexError` that a worker's setup raised. Close the
    generator (`contextlib.closing`) to end the processes early.
    """
    suspects = []
    with _Crew(setup, paths) as crew:
        for index, answer in crew.work(range(len(paths)), workers=workers):
            if isinstance(answer, Answer):
                yield index, answer
            else:
                suspects.append(index)
    for index in suspects:
        with _Crew(setup, paths) as crew:
            for _, answer in crew.work([index], workers=1):
                yield index, answer if isinstance(answer, Answer) else _crashed(answer)


def _crashed(death: WorkerDied) -> Answer:
    return Answer(failure=f"crashed the process that analysed it, twice ({death})", unexpected=True)


class _Crew:
    """Processes that share a list of jobs; leaving the context ends them all."""

    def __init__(self, setup: dict[str, Any], paths: Sequence[str]) -> None:
        self._setup, self._paths = setup, paths
        self._lock = threading.Lock()
        self._processes: list[_Process] = []
        self._closed = False

    def __enter__(self) -> "_Crew":
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._closed = True
            for process in self._processes:
                process.kill()

    def work(self, indices: Sequence[int], *, workers: int) -> Iterator[tuple[int, Answer | WorkerDied]]:
        """Yield an answer, or how its process died, for each index."""
        jobs: queue.SimpleQueue[int] = queue.SimpleQueue()
        for index in indices:
            jobs.put(index)
        # Bounded, so that fast workers wait for a slow consumer instead of filling memory.
        results: queue.Queue[tuple[int, Answer | WorkerDied | Exception]] = queue.Queue(2 * workers)
        for _ in range(min(workers, len(indices))):
            threading.Thread(target=self._serve, args=(jobs, results), daemon=True).start()
        for _ in indices:
            index, result = results.get()
            if not isinstance(result, Answer | WorkerDied):
                raise result
            yield index, result

    def _serve(self, jobs: queue.SimpleQueue, results: queue.Queue) -> None:
        """One thread: keep one process busy until no job is left."""
        process = None
        while not self._closed:
            try:
                index = jobs.get_nowait()
            except queue.Empty:
                return
            try:
                process = process or self._start()
                results.put((index, process.ask(self._paths[index])))
            except WorkerDied as death:
                process = None
                results.put((index, death))
            except Exception as error:
                results.put((index, error))
                return

    def _start(self) -> "_Process":
        """A process that is ready. One that dies while it starts was not killed by a recording."""
        for _ in range(_START_ATTEMPTS):
            process = _Process()
            with self._lock:
                self._processes.append(process)
                if self._closed:
                    process.kill()
            try:
                process.set_up(self._setup)
                return process
            except WorkerDied as death:
                last = death
        raise errors.MirexError(
            f"worker processes end as soon as they start ({last}); MIREX_DEBUG=1 shows their messages"
        )


class _Process:
    """One worker process, spoken to line by line."""

    def __init__(self) -> None:
        self._popen = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Decoders write about every bad frame; the answers say what matters.
            stderr=None if os.environ.get("MIREX_DEBUG") else subprocess.DEVNULL,
            env=_environment(),
        )

    def set_up(self, setup: dict[str, Any]) -> None:
        """Wait until it is ready. Raises `WorkerDied`, or the `MirexError` that it reports."""
        header = self._exchange(setup)
        if "error" in header:
            raise getattr(errors, header["error"], errors.MirexError)(header["message"])

    def ask(self, path: str) -> Answer:
        """Its answer for one recording. Raises `WorkerDied`."""
        header = self._exchange({"path": path})
        if "failure" in header:
            return Answer(failure=header["failure"], unexpected=header["unexpected"])
        arrays = {name: self._array(shape) for name, shape in header["arrays"].items()}
        return Answer(arrays, tuple(header["warnings"]))

    def kill(self) -> None:
        """End it at once; it holds nothing that would be lost."""
        assert self._popen.stdin
        self._popen.kill()
        self._popen.wait()
        with contextlib.suppress(BrokenPipeError):  # a job that it had no time to read
            self._popen.stdin.close()

    def _exchange(self, message: dict[str, Any]) -> dict[str, Any]:
        assert self._popen.stdin
        assert self._popen.stdout
        with contextlib.suppress(BrokenPipeError):
            self._popen.stdin.write(json.dumps(message).encode() + b"\n")
            self._popen.stdin.flush()
        line = self._popen.stdout.readline()
        if not line.endswith(b"\n"):
            raise self._death()
        return json.loads(line)

    def _array(self, shape: list[int]) -> np.ndarray:
        assert self._popen.stdout
        size = 4 * int(np.prod(shape))
        data = self._popen.stdout.read(size)
        if len(data) < size:
            raise self._death()
        return np.frombuffer(data, "<f4").reshape(shape)

    def _death(self) -> WorkerDied:
        self.kill()
        status = self._popen.returncode
        if status >= 0:
            return WorkerDied(f"exit status {status}")
        hint = ", perhaps for lack of memory" if status == -signal.SIGKILL else ""
        return WorkerDied(f"{signal.Signals(-status).name}{hint}")


def _environment() -> dict[str, str]:
    """The parent's environment, with its module search path, and one thread for every library."""
    search = [os.path.abspath(entry) for entry in sys.path]
    package_parent = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(dict.fromkeys([package_parent, *search]))
    return {**os.environ, "PYTHONPATH": path, **dict.fromkeys(_ONE_THREAD, "1")}
