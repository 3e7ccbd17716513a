"""Audio files to embeddings, through the scratch store.

Files are identified by content: a recording that is listed twice, or under two names, is analysed once.
What the store has is reused. The rest goes to worker processes (`mirex.extraction.pool`), on this machine
or on a cluster (`mirex.extraction.cluster`). Each result is stored as soon as it arrives, so a run
that ends early loses at most the recordings that were being analysed, or waited for the GPU. On the CPU the
workers compute the embedding too, each on one thread; with CUDA they compute the columns, and this process
embeds them (`mirex.extraction.device`). Either way a result depends on its recording alone: not on threads,
order, or what was reused.

A file that fails is not an error (unless `strict`): its embedding is all zeros, and the reason is
logged and written to the scratch folder's report (`mirex.extraction.report`).
"""

import contextlib
import dataclasses
import json
import logging
import math
import os
from collections.abc import Callable, Container, Generator, Iterator, Mapping, Sequence, Sized
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mirex.errors import AudioError, MirexError, UsageError
from mirex.extraction import pool, report
from mirex.extraction.contents import identify
from mirex.extraction.device import Device, in_batches
from mirex.extraction.store import Entry, Store
from mirex.features import short
from mirex.features.cqt import IMPLEMENTATIONS
from mirex.logs import printable
from mirex.model.backend import check
from mirex.settings import FrontEndSettings

REPORT = report.NAME
DEVICES = ("auto", "cpu", "cuda")

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True, eq=False)
class Extraction:
    """The embeddings of a list of files.

    Attributes
    ----------
    paths : tuple of str
        As given.
    embeddings : float32 [files, 2048]
        Of unit length; zeros for a file that failed.
    failures : mapping of int to str
        The reason, by index into `paths`.
    reused, computed : int
        Distinct recordings that came from the store, and that were analysed now.
    contents : tuple of str or None
        Content hash of each file; None if it cannot be read.
    weights : str
        Fingerprint of the weights.
    seconds : float64 [files]
        Seconds of sound in each; NaN for a file that failed.
    """

    paths: tuple[str, ...]
    embeddings: NDArray[np.float32]
    failures: Mapping[int, str]
    reused: int
    computed: int
    contents: tuple[str | None, ...]
    weights: str
    seconds: NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What a run needs to know besides the files."""

    weights: Path | None  # None: columns only
    fingerprint: str
    front_end: FrontEndSettings
    cqt: str
    device: str
    threads: int
    keep_columns: bool
    time_limit: float
    scheduler: str | None
    scratch: str | os.PathLike[str]
    backend: str = "torch"

    def worker_setup(self, *, on_cuda: bool) -> dict[str, object]:
        """Make the message that `mirex.extraction.worker` expects first.

        Parameters
        ----------
        on_cuda : bool
            Whether this process computes the embeddings, on a GPU, and the columns too unless the workers
            are on a cluster; workers then decode.

        Returns
        -------
        dict
            For JSON.
        """
        return {
            "front_end": self.front_end.to_json(),
            "cqt": self.cqt,
            "weights": None if on_cuda or not self.weights else os.path.abspath(self.weights),
            "weights_fingerprint": self.fingerprint,
            "backend": self.backend,
            "columns": self.keep_columns,
            # Across a network, columns are sent: samples are a hundred times as large.
            "samples": on_cuda and self.cqt == "multirate" and self.scheduler is None,
            "scratch": os.path.abspath(self.scratch),
        }


def extract(
    paths: Sequence[str],
    *,
    scratch: str | os.PathLike[str],
    device: str = "auto",
    threads: int = 1,
    cqt: str = "multirate",
    backend: str = "torch",
    weights: str | os.PathLike[str] | None = None,
    strict: bool = False,
    keep_columns: bool = False,
    rehash: bool = False,
    time_limit: float = pool.TIME_LIMIT,
    scheduler: str | None = None,
    locations: Sequence[str] | None = None,
    run: str | None = None,
    progress: Progress | None = None,
) -> Extraction:
    """Embed recordings, or find their embeddings in the scratch folder.

    Parameters
    ----------
    paths : sequence of str
        Names of the files.
    scratch : path-like
        Folder for the store and the report; created if missing.
    device : {"auto", "cpu", "cuda"}
        Of the transform and the network; "auto" is CUDA if available.
    threads : int
        Worker processes, of one thread each.
    cqt : {"multirate", "essentia"}
        Implementation of the constant-Q transform.
    backend : {"torch", "openvino"}
        Computes the network on a CPU; openvino needs the extra `fast`.
    weights : path-like, optional
        A sealed file; the shipped one by default.
    strict : bool
        Raise if any file fails.
    keep_columns : bool
        Store the CQT columns too.
    rehash : bool
        Read and hash every file, even if it seems unchanged since an earlier run.
    time_limit : float
        Seconds that the analysis of a recording may take, plus a tenth of its length; 0 for no limit.
    scheduler : str, optional
        Address of a Dask scheduler, whose workers see the files under the same paths; "local" starts one.
    locations : sequence of str, optional
        Path of each file, if that differs from its name.
    run : str, optional
        Identifies this list in the report of failures; its paths by default.
    progress : callable, optional
        Called with the number of recordings done and to do.

    Returns
    -------
    Extraction

    Raises
    ------
    AudioError
        If strict, and a file failed.
    UsageError
        If an option is invalid.
    WeightsError
        If the weights cannot be used.
    StoreError
        If the scratch folder cannot be used.
    """
    paths = [os.fspath(path) for path in paths]
    locations = paths if locations is None else locations
    plan = _plan(
        weights, cqt=cqt, backend=backend, device=device, threads=threads, keep_columns=keep_columns,
        time_limit=time_limit, scheduler=scheduler, scratch=scratch,
    )  # fmt: skip
    store = Store(scratch, front_end=plan.front_end.fingerprint(), weights=plan.fingerprint, cqt=cqt)
    contents, failures = identify(locations, scratch=scratch, threads=threads, rehash=rehash)
    for index, reason in failures.items():
        _log_failure(paths[index], reason)
    found = _look_up(store, contents, plan)
    jobs = _missing(contents, found)
    _log_start(len(paths), found, jobs, store)
    reused = len(found)
    reasons = _embed_missing(store, found, paths, locations, jobs, plan, progress)
    failures |= {i: reasons[content] for i, content in enumerate(contents) if content in reasons}
    failures = dict(sorted(failures.items()))
    report.write_report(
        scratch,
        run=json.dumps(paths) if run is None else run,
        paths=paths,
        failures=[(paths[index], reason) for index, reason in failures.items()],
        locations=locations,
    )
    if failures and strict:
        raise AudioError(
            f"{len(failures)} of {len(paths)} files could not be analysed, which is an error with --strict; "
            f"{Path(scratch) / REPORT} has the reasons"
        )
    embeddings, seconds = _assemble(contents, found)
    return Extraction(
        tuple(paths), embeddings, failures, reused, len(found) - reused, tuple(contents), plan.fingerprint,
        seconds,
    )  # fmt: skip


def read_columns(
    paths: Sequence[str],
    *,
    scratch: str | os.PathLike[str],
    threads: int = 1,
    front_end: FrontEndSettings | None = None,
    cqt: str = "multirate",
    rehash: bool = False,
    time_limit: float = pool.TIME_LIMIT,
    progress: Progress | None = None,
) -> Generator[tuple[int, NDArray[np.float32] | str], None, None]:
    """CQT columns of recordings, taken from the scratch folder, or computed and kept there.

    Everything missing is computed before the first item is yielded; by then no process is left.

    Parameters
    ----------
    paths : sequence of str
        Paths of the recordings.
    scratch, threads, cqt, rehash, time_limit, progress
        As for `extract`.
    front_end : FrontEndSettings, optional
        The settings of this version by default.

    Yields
    ------
    index : int
        Into paths, in order.
    columns : ndarray of float32 [84, columns], or str
        As the store keeps them, in half precision; or the reason why there are none, which has been logged.

    Raises
    ------
    UsageError
        If an option is invalid.
    StoreError
        If the scratch folder cannot be used.
    """
    paths = [os.fspath(path) for path in paths]
    plan = _checked_plan(
        _Plan(None, "", front_end or FrontEndSettings(), cqt, "cpu", threads, True, time_limit, None, scratch)
    )
    store = Store(scratch, front_end=plan.front_end.fingerprint(), weights="", cqt=cqt)
    contents, failures = identify(paths, scratch=scratch, threads=threads, rehash=rehash)
    for index, reason in failures.items():
        _log_failure(paths[index], reason)
    distinct = {content for content in contents if content is not None}
    found = {content for content in distinct if store.get(content, kind="columns") is not None}
    jobs = _missing(contents, found)
    _log_start(len(paths), found, jobs, store)
    reasons: dict[str, str] = {}
    for computed, answer in _computed(store, paths, paths, jobs, plan, progress):
        if answer.failure is not None:
            reasons[computed] = answer.failure
    for index, content in enumerate(contents):
        kept = store.get(content, kind="columns") if content and content not in reasons else None
        if kept is not None:
            yield index, kept.astype(np.float32)
        else:
            lost = "its columns have disappeared from the scratch folder"
            yield index, failures.get(index) or reasons.get(content or "", lost)


def _plan(weights: str | os.PathLike[str] | None, *, backend: str, **options: Any) -> _Plan:
    from mirex.model.weights import default_path, fingerprint, read_metadata

    path = Path(weights) if weights else default_path()
    metadata = read_metadata(path)
    front_end = FrontEndSettings.from_json(metadata["front_end"])
    named = fingerprint(metadata, backend=backend)
    return _checked_plan(_Plan(path, named, front_end, backend=backend, **options))


def _checked_plan(plan: _Plan) -> _Plan:
    if plan.cqt not in IMPLEMENTATIONS:
        raise UsageError(f"cqt {plan.cqt!r}: choose one of {', '.join(IMPLEMENTATIONS)}")
    if plan.device not in DEVICES:
        raise UsageError(f"device {plan.device!r}: choose one of {', '.join(DEVICES)}")
    if plan.threads < 1:
        raise UsageError(f"threads {plan.threads}: give 1 or more")
    if not 0 <= plan.time_limit < float("inf"):
        raise UsageError(f"time limit {plan.time_limit}: give seconds, or 0 for no limit")
    check(plan.backend, device=plan.device)
    return plan if plan.backend == "torch" else dataclasses.replace(plan, device="cpu")


def _look_up(store: Store, contents: Sequence[str | None], plan: _Plan) -> dict[str, Entry]:
    """Complete entries that the store has for the recordings."""
    found: dict[str, Entry] = {}
    for content in dict.fromkeys(contents):
        if content is None or (plan.keep_columns and store.get(content, kind="columns") is None):
            continue
        entry = store.entry(content)
        if entry is not None:
            found[content] = entry
    return found


def _entry(answer: pool.Answer) -> Entry:
    return Entry(answer.arrays["embedding"], float(answer.arrays.get("seconds", math.nan)))


def _missing(contents: Sequence[str | None], found: Container[str]) -> dict[str, int]:
    """Index of the first file of each recording that was not found, in the order of the list."""
    jobs: dict[str, int] = {}
    for index, content in enumerate(contents):
        if content is not None and content not in found:
            jobs.setdefault(content, index)
    return jobs


def _embed_missing(
    store: Store,
    found: dict[str, Entry],
    paths: Sequence[str],
    locations: Sequence[str],
    jobs: Mapping[str, int],
    plan: _Plan,
    progress: Progress | None,
) -> dict[str, str]:
    """Add the embeddings of the jobs to `found`; return the reasons for those that fail."""
    reasons: dict[str, str] = {}
    for content, answer in _computed(store, paths, locations, jobs, plan, progress):
        if answer.failure is None:
            found[content] = _entry(answer)
        else:
            reasons[content] = answer.failure
            _end_if_hopeless(answer, failed=len(reasons), of=len(jobs), found=len(found))
    return reasons


def _computed(
    store: Store,
    paths: Sequence[str],
    locations: Sequence[str],
    jobs: Mapping[str, int],
    plan: _Plan,
    progress: Progress | None,
) -> Iterator[tuple[str, pool.Answer]]:
    """Analyse, log, store; yield (content, answer) for each job as it is done."""
    order = list(jobs.items())
    if progress and order:
        progress(0, len(order))
    with contextlib.closing(_answers([locations[index] for _, index in order], plan)) as answers:
        for done, (job, answer) in enumerate(answers, 1):
            content, index = order[job]
            if answer.failure is None:
                _keep(store, content, answer, plan)
                for warning in [*answer.warnings, *_shortness(answer)]:
                    log.warning("%s: %s", printable(paths[index]), warning)
            else:
                reason = " ".join(answer.failure.split())
                answer = dataclasses.replace(answer, failure=reason)
                _log_failure(paths[index], reason)
            yield content, answer
            if progress:
                progress(done, len(order))


def _shortness(answer: pool.Answer) -> list[str]:
    """The warning about a short recording, if it is one."""
    seconds = float(answer.arrays.get("seconds", math.nan))
    return [short.warning(seconds)] if short.is_short(seconds) else []


def _end_if_hopeless(answer: pool.Answer, *, failed: int, of: int, found: int) -> None:
    """If every recording fails, and not for reasons of its own, something else is wrong: end the run."""
    if answer.unexpected and failed == of and not found:
        raise MirexError(f"no file could be analysed; the last reason: {answer.failure}")


def _keep(store: Store, content: str, answer: pool.Answer, plan: _Plan) -> None:
    # Columns first: an embedding in the store then means that the recording is done.
    if plan.keep_columns:
        store.put(content, answer.arrays["columns"], kind="columns")
    if plan.weights:
        embedding, seconds = _entry(answer)
        store.put(content, embedding, seconds=seconds)


def _answers(locations: Sequence[str], plan: _Plan) -> Generator[tuple[int, pool.Answer], None, None]:
    """Answers with an embedding, wherever it is computed."""
    if not locations:
        return
    on_cuda = plan.weights is not None and resolve_device(plan.device) == "cuda"
    device = Device(plan.weights, "cuda") if plan.weights and on_cuda else None
    setup = plan.worker_setup(on_cuda=on_cuda)
    finish = device.transformed if device else None
    with contextlib.closing(_analysed(locations, setup, plan, finish)) as answers:
        for job, answer in in_batches(answers, device) if device else answers:
            yield job, _checked(answer)


def _analysed(
    locations: Sequence[str], setup: dict[str, Any], plan: _Plan, finish: pool.Finish | None
) -> Generator[tuple[int, pool.Answer], None, None]:
    if plan.scheduler is None:
        return pool.run(
            locations, setup=setup, workers=plan.threads, time_limit=plan.time_limit, finish=finish
        )
    from mirex.extraction import cluster

    return cluster.run(
        locations, setup=setup, scheduler=plan.scheduler, workers=plan.threads, time_limit=plan.time_limit
    )


def _checked(answer: pool.Answer) -> pool.Answer:
    embedding = answer.arrays.get("embedding")
    if embedding is not None and not np.isfinite(embedding).all():
        return pool.Answer(failure="its embedding is not finite", unexpected=True)
    return answer


def resolve_device(device: str) -> str:
    """Decide where to compute.

    Parameters
    ----------
    device : str
        One of DEVICES.

    Returns
    -------
    str
        "cpu" or "cuda".

    Raises
    ------
    UsageError
        If cuda is asked for and missing.
    """
    if device == "cpu" or (device == "auto" and not _has_cuda_driver()):
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if device == "cuda":
        raise UsageError("device cuda: PyTorch finds no CUDA device here; use cpu or auto")
    return "cpu"


def _has_cuda_driver() -> bool:
    """Whether there is a CUDA driver; without one there is no CUDA, and no need to load PyTorch."""
    import ctypes

    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def _assemble(
    contents: Sequence[str | None], found: Mapping[str, Entry]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Embedding and seconds of sound of each file."""
    size = len(next(iter(found.values())).array) if found else 2048
    embeddings, seconds = np.zeros((len(contents), size), np.float32), np.full(len(contents), np.nan)
    for index, content in enumerate(contents):
        if content is not None and content in found:
            embeddings[index], seconds[index] = found[content]
    return embeddings, seconds


def _log_start(files: int, found: Sized, jobs: Sized, store: Store) -> None:
    damaged = f" ({store.damaged} damaged entries will be computed again)" if store.damaged else ""
    log.info(
        "%d files, %d distinct recordings: %d reused from %s, %d to analyse%s",
        files, len(found) + len(jobs), len(found), store.folder, len(jobs), damaged,
    )  # fmt: skip


def _log_failure(path: str, reason: str) -> None:
    log.warning("failed: %s: %s", printable(path), reason)
