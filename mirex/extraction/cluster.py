"""Extraction on a Dask cluster: what `mirex.extraction.pool` does, on other machines.

A task is one recording. Each thread of a Dask worker keeps one of our worker processes
(`mirex.extraction.worker`), so a decoder that crashes or never ends costs only its own recording, as it does
locally. If a recording's process dies, or its Dask worker dies more often than the scheduler allows, the
recording is tried once more at the end, with nothing else running. If that fails too, the recording has
failed.

The cluster's workers need the same version of mirex, and must see recordings and weights under the same paths
as this machine. Only this machine uses the scratch folder. Dask itself is the extra `cluster`.
"""

import concurrent.futures
import contextlib
import dataclasses
import itertools
import logging
import os
import secrets
import threading
from collections.abc import Generator, Iterator, Sequence
from typing import Any

from mirex import __version__
from mirex.errors import MirexError, UsageError
from mirex.extraction.pool import TIME_LIMIT, Answer, Crew, Process, WorkerDied, given_up
from mirex.extras import how_to_install

LOCAL = "local"
_IN_FLIGHT = 1000  # tasks that the scheduler knows of; an adaptive cluster scales with them
_CONNECT_WITHIN = 30.0  # seconds

log = logging.getLogger(__name__)


def run(
    paths: Sequence[str],
    *,
    setup: dict[str, Any],
    scheduler: str,
    workers: int = 1,
    time_limit: float = TIME_LIMIT,
) -> Generator[tuple[int, Answer], None, None]:
    """Analyse recordings on a cluster; yield (index into paths, answer) as they come.

    Parameters
    ----------
    paths : sequence of str
        Paths of the recordings, both here and on the cluster.
    setup : dict
        See `mirex.extraction.worker`.
    scheduler : str
        Its address, such as "tcp://host:8786"; "local" starts a cluster on this machine.
    workers : int
        Dask workers of a local cluster.
    time_limit : float
        As for `mirex.extraction.pool.run`.

    Yields
    ------
    tuple of int and Answer
        One for each path, in no particular order.

    Raises
    ------
    UsageError
        If Dask is missing, or the address is malformed.
    MirexError
        If the scheduler cannot be reached or is lost, or the workers cannot do the work.
    """
    job = _Job(setup, time_limit, secrets.token_hex(8), __version__)
    paths = [os.path.abspath(path) for path in paths]
    with _client(scheduler, workers) as client, _released(client, job):
        suspects = []
        for index, answer in _gathered(client, job, paths, range(len(paths)), at_once=_IN_FLIGHT):
            if isinstance(answer, Answer):
                yield index, answer
            else:
                suspects.append(index)
        for index, answer in _gathered(client, job, paths, suspects, at_once=1):
            yield index, answer if isinstance(answer, Answer) else given_up(answer)


@dataclasses.dataclass(frozen=True)
class _Job:
    """What a Dask worker must know of a run; the name is unique to the run."""

    setup: dict[str, Any]
    time_limit: float
    name: str
    version: str


# --- on this machine ----------------------------------------------------------------------------


@contextlib.contextmanager
def _client(scheduler: str, workers: int) -> Iterator[Any]:
    """A connection to the scheduler, or to a local cluster that ends with the connection."""
    try:
        import dask
        import distributed
    except ImportError as error:
        raise UsageError(f"--scheduler needs Dask ({error}); {how_to_install('cluster')}") from error

    # Dask logs every worker that comes or goes; we report on the recordings.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with contextlib.ExitStack() as stack:
        if scheduler == LOCAL:
            stack.enter_context(dask.config.set({"distributed.scheduler.allowed-failures": 0}))
            cluster = distributed.LocalCluster(
                n_workers=workers, threads_per_worker=1, memory_limit=0, dashboard_address="127.0.0.1:0",
                silence_logs=logging.CRITICAL,
            )  # fmt: skip
            address = stack.enter_context(cluster).scheduler_address
        else:
            address = scheduler
        try:
            client = stack.enter_context(distributed.Client(address, timeout=_CONNECT_WITHIN))
        except ValueError as error:
            raise UsageError(
                f"scheduler {scheduler!r} is not an address; give one such as tcp://host:8786"
            ) from error
        except OSError as error:
            raise MirexError(
                f"scheduler {scheduler!r} cannot be reached; give the address that it reports when it starts"
            ) from error
        threads = sum(client.nthreads().values())
        log.info("cluster at %s: %d threads%s", address, threads, "" if threads else "; waiting for workers")
        yield client


@contextlib.contextmanager
def _released(client: Any, job: _Job) -> Iterator[None]:
    """Afterwards end the processes that the Dask workers keep for the job, whatever they are doing."""
    try:
        yield
    finally:
        with contextlib.suppress(Exception):  # the scheduler may be gone, which another error will report
            client.run(_release, job.name, on_error="ignore")


def _gathered(
    client: Any, job: _Job, paths: Sequence[str], indices: Sequence[int], *, at_once: int
) -> Iterator[tuple[int, Answer | WorkerDied]]:
    """Submit the recordings and yield the outcome of each, in the order in which they finish."""
    from distributed import as_completed

    waiting = iter(indices)
    running: dict[Any, int] = {}

    def submit(count: int) -> list[Any]:
        new = {
            client.submit(_analyse, job, paths[i], pure=False): i for i in itertools.islice(waiting, count)
        }
        running.update(new)
        return list(new)

    done = as_completed(submit(at_once))
    try:
        for future in done:
            index = running.pop(future)
            yield index, _outcome(future)
            del future  # the cluster keeps a result as long as we do
            done.update(submit(1))
    finally:
        client.cancel(list(running), force=True)


def _outcome(future: Any) -> Answer | WorkerDied:
    from distributed import KilledWorker

    try:
        return future.result()
    except KilledWorker:
        return WorkerDied("its Dask worker died")
    except MirexError:
        raise
    except (concurrent.futures.CancelledError, OSError) as error:
        raise MirexError(
            "the connection to the scheduler is lost; finished work is kept, so run the same command again "
            "to resume"
        ) from error
    except Exception as error:
        raise MirexError(
            f"the cluster's workers cannot do the work ({type(error).__name__}: {error}); install "
            f"mirex {__version__} with its requirements on them"
        ) from error


# --- on the cluster -----------------------------------------------------------------------------


class _Station:
    """The processes that a Dask worker keeps for one job, one for each of its threads."""

    def __init__(self, job: _Job) -> None:
        self._time_limit = job.time_limit
        self._crew = Crew(job.setup, time_limit=job.time_limit)
        self._crew.__enter__()
        self._own = threading.local()

    def ask(self, path: str) -> Answer | WorkerDied:
        """Analyse a recording in this thread's process.

        Parameters
        ----------
        path : str
            Path of the recording.

        Returns
        -------
        Answer or WorkerDied
            The answer, or how the process died.
        """
        process: Process | None = getattr(self._own, "process", None)
        self._own.process = process = self._crew.ready(process)
        try:
            return process.ask(path, time_limit=self._time_limit)
        except WorkerDied as death:
            self._own.process = None
            return death

    def close(self) -> None:
        self._crew.__exit__()


_stations: dict[str, _Station] = {}
_over: set[str] = set()  # finished jobs, of which a task may still start
_lock = threading.Lock()


def _analyse(job: _Job, path: str) -> Answer | WorkerDied:
    """The task."""
    if job.version != __version__:
        raise MirexError(
            f"the cluster's workers have mirex {__version__}, this machine has {job.version}; install the "
            "same version on both"
        )
    with _lock:
        if job.name in _over:
            return WorkerDied("the run is over")
        station = _stations.get(job.name) or _stations.setdefault(job.name, _Station(job))
    return station.ask(path)


def _release(name: str) -> None:
    with _lock:
        _over.add(name)
        station = _stations.pop(name, None)
    if station:
        station.close()
