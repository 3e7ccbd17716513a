"""A pool of worker processes (`mirex.extraction.worker`) that survives the death of any of them.

Each process has one recording at a time, so when one dies, it is known which recording it had. That
recording is tried once more at the end, alone, in a fresh process; if that dies too, the recording
has failed. The other recordings are not affected. One thread per process waits for its answers.

A process that takes too long is killed, since a decoder may loop for ever, and its recording is tried once
more in the same way. The limit is `time_limit` seconds plus a tenth of the recording's length. The worker
reports the length as soon as it has decoded the recording; until then it is estimated from the file's size,
at 128 kbit/s.

The processes are started as programs of their own, not through multiprocessing, so that `mirex`
works from a script without a main guard, from a notebook and from standard input.
"""

import contextlib
import dataclasses
import errno
import fcntl
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mirex import errors
from mirex.threads import ONE_THREAD

COMMAND = [sys.executable, "-P", "-m", "mirex.extraction.worker"]
TIME_LIMIT = 60.0  # seconds, by default
SHARE_OF_LENGTH = 0.1
_BYTES_A_SECOND = 16_000  # of a recording whose length is not known yet
_START_LIMIT = 600.0  # seconds; loading PyTorch over a network may take minutes
_START_ATTEMPTS = 3
_TICK = 0.5  # seconds
_PIPE = 1 << 20  # bytes: samples are megabytes


@dataclasses.dataclass(frozen=True)
class Answer:
    """The outcome for one recording: arrays (with warnings), or the reason of its failure.

    Attributes
    ----------
    arrays : dict of str to float32 array
        By the names that `mirex.extraction.worker` gives them.
    warnings : tuple of str
        About the recording.
    failure : str or None
        The reason; None if the analysis succeeded.
    unexpected : bool
        Whether the failure is not the recording's own, as far as this program knows.
    """

    arrays: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    failure: str | None = None
    unexpected: bool = False


Finish = Callable[[Answer], Answer]


class WorkerDied(Exception):
    """The process ended without an answer; the message says how."""


class TookTooLong(WorkerDied):
    """The process was killed because its time was up; the message says how much it had."""


def run(
    paths: Sequence[str],
    *,
    setup: dict[str, Any],
    workers: int,
    time_limit: float = TIME_LIMIT,
    finish: Finish | None = None,
) -> Generator[tuple[int, Answer], None, None]:
    """Analyse recordings in worker processes; yield (index into paths, answer) as they come.

    Close the generator (`contextlib.closing`) to end the processes early.

    Parameters
    ----------
    paths : sequence of str
        Paths of the recordings.
    setup : dict
        See `mirex.extraction.worker`.
    workers : int
        Processes at a time at most, 1 or more.
    time_limit : float
        Seconds for a recording, plus a tenth of its length; 0 for no limit.
    finish : callable, optional
        Called with each answer, in the thread that waits for its process; returns the answer to yield.

    Yields
    ------
    tuple of int and Answer
        One for each path, in no particular order.

    Raises
    ------
    MirexError
        If a worker reports it during setup, or workers cannot be started.
    Exception
        Any that `finish` raises.
    """
    suspects = []
    with Crew(setup, time_limit=time_limit, finish=finish) as crew:
        for index, answer in crew.work(paths, range(len(paths)), workers=workers):
            if isinstance(answer, Answer):
                yield index, answer
            else:
                suspects.append(index)
    for index in suspects:
        with Crew(setup, time_limit=time_limit, finish=finish) as crew:
            for _, answer in crew.work(paths, [index], workers=1):
                yield index, answer if isinstance(answer, Answer) else given_up(answer)


def given_up(death: WorkerDied) -> Answer:
    """The answer for a recording whose second process died too.

    Parameters
    ----------
    death : WorkerDied
        How it died.

    Returns
    -------
    Answer
        A failure.
    """
    if isinstance(death, TookTooLong):
        return Answer(failure=f"took more than {death}, twice; raise --time-limit", unexpected=True)
    return Answer(failure=f"crashed the process that analysed it, twice ({death})", unexpected=True)


class Crew:
    """Processes that share a list of jobs; leaving the context ends them and the threads that wait for them.

    Parameters
    ----------
    setup : dict
        See `mirex.extraction.worker`.
    time_limit, finish
        As in `run`.
    """

    def __init__(
        self, setup: dict[str, Any], *, time_limit: float = TIME_LIMIT, finish: Finish | None = None
    ) -> None:
        self._setup, self._time_limit, self._finish = setup, time_limit, finish
        self._lock = threading.Lock()
        self._processes: list[Process] = []
        self._threads: list[threading.Thread] = []
        self._results: queue.Queue[tuple[int, Answer | WorkerDied | Exception]] = queue.Queue()
        self._closed = threading.Event()

    def __enter__(self) -> "Crew":
        self._threads.append(threading.Thread(target=self._watch, daemon=True))
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._closed.set()
            for process in self._processes:
                process.kill()
        # Make room for one more result of every thread, its last one.
        with contextlib.suppress(queue.Empty):
            while True:
                self._results.get_nowait()
        for thread in self._threads:
            thread.join()
        for process in self._processes:
            process.close()

    def work(
        self, paths: Sequence[str], indices: Sequence[int], *, workers: int
    ) -> Iterator[tuple[int, Answer | WorkerDied]]:
        """Analyse the recordings of some indices.

        Parameters
        ----------
        paths : sequence of str
            Paths of the recordings.
        indices : sequence of int
            Into `paths`: the recordings to analyse.
        workers : int
            Processes at a time at most.

        Yields
        ------
        tuple of int and Answer or WorkerDied
            For each index the answer, or how its process died, as they come.

        Raises
        ------
        MirexError
            As in `run`.
        """
        jobs: queue.SimpleQueue[int] = queue.SimpleQueue()
        for index in indices:
            jobs.put(index)
        # Bounded, so that fast workers wait for a slow consumer instead of filling memory.
        self._results = queue.Queue(2 * workers)
        for _ in range(min(workers, len(indices))):
            thread = threading.Thread(target=self._serve, args=(paths, jobs), daemon=True)
            self._threads.append(thread)
            thread.start()
        for _ in indices:
            index, result = self._results.get()
            if not isinstance(result, Answer | WorkerDied):
                raise result
            yield index, result

    def start(self) -> "Process":
        """Start a process and wait until it is ready.

        A process that dies while it starts was not killed by a recording, so another one is tried.

        Returns
        -------
        Process

        Raises
        ------
        MirexError
            If a process cannot be started, reports an error, or dies several times in a row.
        """
        for _ in range(_START_ATTEMPTS):
            process = self._new_process()
            try:
                process.set_up(self._setup)
                return process
            except WorkerDied as death:
                last = death
        raise errors.MirexError(
            f"worker processes die as soon as they start ({last}); MIREX_DEBUG=1 shows their messages"
        )

    def ready(self, process: "Process | None") -> "Process":
        """Give this process if it is usable, else a new one.

        Parameters
        ----------
        process : Process or None
            The one used before.

        Returns
        -------
        Process

        Raises
        ------
        MirexError
            As `start`.
        """
        if process and not process.usable():  # its time ran out just as it answered
            process.close()
            process = None
        return process or self.start()

    def _serve(self, paths: Sequence[str], jobs: queue.SimpleQueue) -> None:
        """One thread: keep one process busy until no job is left."""
        process = None
        while not self._closed.is_set():
            try:
                index = jobs.get_nowait()
            except queue.Empty:
                return
            try:
                process = self.ready(process)
                answer = process.ask(paths[index], time_limit=self._time_limit)
                self._results.put((index, self._finish(answer) if self._finish else answer))
            except WorkerDied as death:
                process = None
                self._results.put((index, death))
            except Exception as error:
                self._results.put((index, error))
                return

    def _new_process(self) -> "Process":
        try:
            process = Process()
        except OSError as error:
            advice = "lower --num-threads"
            if error.errno in (errno.EMFILE, errno.ENFILE):
                advice = f"raise the limit (ulimit -n) or {advice}"
            raise errors.MirexError(
                f"a worker process cannot be started: {error.strerror}; {advice}"
            ) from error
        with self._lock:
            self._processes = [other for other in self._processes if other.usable()] + [process]
            if self._closed.is_set():
                process.kill()
        return process

    def _watch(self) -> None:
        """One thread: kill processes whose time is up. It counts ticks, so suspending the machine is safe."""
        while not self._closed.wait(_TICK):
            with self._lock:
                for process in self._processes:
                    process.tick(_TICK)


class Process:
    """One worker process, which exchanges lines with this one; `OSError` if it cannot be started."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left: float | None = None  # seconds until it is killed
        self._limit = 0.0
        self._late = False
        self._popen = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Decoders complain about every bad frame; the answers have what matters.
            stderr=None if os.environ.get("MIREX_DEBUG") else subprocess.DEVNULL,
            env=_environment(),
        )
        with contextlib.suppress(OSError, AttributeError):  # over a user's limit, or not on Linux
            fcntl.fcntl(self._popen.stdout, fcntl.F_SETPIPE_SZ, _PIPE)  # type: ignore[arg-type]

    def set_up(self, setup: dict[str, Any]) -> None:
        """Send the setup and wait until the process is ready.

        Parameters
        ----------
        setup : dict
            See `mirex.extraction.worker`.

        Raises
        ------
        WorkerDied
            If it ended or took too long.
        MirexError
            If the process reports one.
        """
        with self._limited(_START_LIMIT):
            header = self._exchange(setup)
        if "error" in header:
            self.close()
            raise getattr(errors, header["error"], errors.MirexError)(header["message"])

    def ask(self, path: str, *, time_limit: float = TIME_LIMIT) -> Answer:
        """Have one recording analysed.

        Parameters
        ----------
        path : str
            Path of the recording.
        time_limit : float
            As in `run`.

        Returns
        -------
        Answer

        Raises
        ------
        WorkerDied
            If the process ended or took too long.
        """
        with self._limited(time_limit + SHARE_OF_LENGTH * _guessed_length(path) if time_limit else None):
            header = self._exchange({"path": path})
            if "decoded" in header:
                if time_limit:
                    self._set_limit(time_limit + SHARE_OF_LENGTH * header["decoded"])
                header = self._receive()
            if "failure" in header:
                return Answer(failure=header["failure"], unexpected=header["unexpected"])
            arrays = {name: self._array(shape) for name, shape in header["arrays"].items()}
        return Answer(arrays, tuple(header["warnings"]))

    def usable(self) -> bool:
        """Whether the process is alive and has time left.

        Returns
        -------
        bool
        """
        return not self._late and self._popen.poll() is None

    def tick(self, seconds: float) -> None:
        """Count down the process's time and kill it at zero. Call it from another thread than `ask`.

        Parameters
        ----------
        seconds : float
            Time to subtract.
        """
        with self._lock:
            if self._left is not None:
                self._left -= seconds
                self._late = self._left <= 0
                if self._late:
                    self._popen.kill()

    def kill(self) -> None:
        """End the process at once; it holds nothing that could be lost."""
        assert self._popen.stdin
        self._popen.kill()
        self._popen.wait()
        with contextlib.suppress(OSError):  # a job that it had no time to read
            self._popen.stdin.close()

    def close(self) -> None:
        """End the process and close its pipes. No thread may be reading from them."""
        assert self._popen.stdout
        self.kill()
        self._popen.stdout.close()

    @contextlib.contextmanager
    def _limited(self, seconds: float | None) -> Iterator[None]:
        with self._lock:
            self._limit, self._left = seconds or 0.0, seconds
        try:
            yield
        finally:
            with self._lock:
                self._left = None

    def _set_limit(self, seconds: float) -> None:
        """Change the limit, which still counts from the same start."""
        with self._lock:
            if self._left is not None:
                self._left += seconds - self._limit
                self._limit = seconds

    def _exchange(self, message: dict[str, Any]) -> dict[str, Any]:
        assert self._popen.stdin
        with contextlib.suppress(BrokenPipeError):
            self._popen.stdin.write(json.dumps(message).encode() + b"\n")
            self._popen.stdin.flush()
        return self._receive()

    def _receive(self) -> dict[str, Any]:
        assert self._popen.stdout
        line = self._popen.stdout.readline()
        if not line.endswith(b"\n"):
            raise self._death()
        return json.loads(line)

    def _array(self, shape: list[int]) -> np.ndarray:
        assert self._popen.stdout
        array = np.empty(shape, "<f4")
        if self._popen.stdout.readinto(array.reshape(-1).data.cast("B")) < array.nbytes:  # type: ignore[attr-defined]
            raise self._death()
        return array

    def _death(self) -> WorkerDied:
        self.close()
        status = self._popen.returncode
        if self._late:
            return TookTooLong(f"{self._limit:.0f} seconds")
        if status >= 0:
            return WorkerDied(f"exit status {status}")
        hint = ", perhaps out of memory" if status == -signal.SIGKILL else ""
        return WorkerDied(f"{signal.Signals(-status).name}{hint}")


def _guessed_length(path: str) -> float:
    """Length in seconds of a recording that is not decoded yet."""
    try:
        return os.stat(path).st_size / _BYTES_A_SECOND
    except (OSError, ValueError):
        return 0.0


def _environment() -> dict[str, str]:
    """The parent's environment and module search path, with one thread for every library, on any core."""
    search = [os.path.abspath(entry) for entry in sys.path]
    package_parent = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(dict.fromkeys([package_parent, *search]))
    return {**os.environ, "PYTHONPATH": path, **ONE_THREAD}
