"""Audio files to embeddings, through the scratch store.

Files are told apart by content: a recording that a list names twice, or under two names, is
analysed once. What the store has is reused; the rest goes to worker processes (`mirex.extraction.pool`), and
each result is stored as soon as it is there, so that a run that ends early loses at most the
recordings that were in work. On the CPU the workers compute the embedding too, each on one thread;
with CUDA they compute the columns, and this process embeds them one recording at a time. Either
way a result depends on its recording alone: not on threads, order, or what was reused.

A file that fails is no error (unless `strict`): its embedding is all zeros, and its reason is
logged and stands in `failed.tsv` in the scratch folder, one `path<TAB>reason` per line.
"""

import contextlib
import dataclasses
import logging
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mirex.errors import AudioError, MirexError, StoreError, UsageError
from mirex.extraction import pool
from mirex.extraction.store import Store, content_hash
from mirex.features.cqt import IMPLEMENTATIONS
from mirex.files import write_whole
from mirex.logs import printable
from mirex.settings import FrontEndSettings

REPORT = "failed.tsv"
DEVICES = ("auto", "cpu", "cuda")

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True, eq=False)
class Extraction:
    """The embeddings of a list of files.

    paths: as given. embeddings: float32 [n, 2048], unit length; zeros for a file that failed.
    failures: index into paths to reason. reused, computed: distinct recordings that came from the
    store, and that were analysed now. contents: content hash of each file, None if it cannot be
    read. weights: fingerprint.
    """

    paths: tuple[str, ...]
    embeddings: NDArray[np.float32]
    failures: Mapping[int, str]
    reused: int
    computed: int
    contents: tuple[str | None, ...]
    weights: str


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What a run needs to know beside the files."""

    weights: Path
    fingerprint: str
    front_end: FrontEndSettings
    cqt: str
    device: str
    threads: int
    keep_columns: bool

    def worker_setup(self, *, on_cuda: bool) -> dict[str, object]:
        """The message that `mirex.extraction.worker` expects first."""
        return {
            "front_end": self.front_end.to_json(),
            "cqt": self.cqt,
            "weights": None if on_cuda else str(self.weights),
            "weights_fingerprint": self.fingerprint,
            "columns": self.keep_columns or on_cuda,
        }


def extract(
    paths: Sequence[str],
    *,
    scratch: str | os.PathLike[str],
    device: str = "auto",
    threads: int = 1,
    cqt: str = "multirate",
    weights: str | os.PathLike[str] | None = None,
    strict: bool = False,
    keep_columns: bool = False,
    locations: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Extraction:
    """Embed recordings, or find their embeddings in the scratch folder.

    paths: names of the files. scratch: folder for the store and the report; made if missing.
    device: of the network, "auto" (CUDA if there is any), "cpu" or "cuda". threads: worker
    processes, of one thread each. cqt: "multirate" or "essentia". weights: a sealed file; None: the one
    that is shipped. strict: raise if any file fails. keep_columns: store the CQT columns too.
    locations: where each file lies, if that differs from its name. progress: called with the
    number of recordings done and to do.

    Raises `AudioError` if strict, `UsageError`, `WeightsError`, `StoreError`.
    """
    locations = paths if locations is None else locations
    plan = _plan(weights, cqt=cqt, device=device, threads=threads, keep_columns=keep_columns)
    store = Store(scratch, front_end=plan.front_end.fingerprint(), weights=plan.fingerprint, cqt=cqt)
    contents, failures = _identify(paths, locations, threads)
    found = _look_up(store, contents, plan)
    jobs = {content: index for index, content in reversed(list(enumerate(contents))) if content not in found}
    jobs.pop(None, None)
    _log_start(len(paths), found, jobs, store)
    reused = len(found)
    reasons = _compute(store, found, paths, locations, jobs, plan, progress)
    failures |= {i: reasons[content] for i, content in enumerate(contents) if content in reasons}
    _write_report(Path(scratch) / REPORT, [(paths[i], reason) for i, reason in sorted(failures.items())])
    if failures and strict:
        raise AudioError(
            f"{len(failures)} of {len(paths)} files could not be analysed, which --strict makes an error; "
            f"reasons in {Path(scratch) / REPORT}"
        )
    embeddings = _assemble(contents, found)
    computed = len(found) - reused
    return Extraction(
        tuple(paths), embeddings, failures, reused, computed, tuple(contents), plan.fingerprint
    )


def locate(paths: Sequence[str], *, list_file: str | os.PathLike[str]) -> list[str]:
    """Where the files of a list lie.

    A path is taken as it stands, relative ones from the current directory; a relative path that does
    not exist there but does from the list file's folder is taken from that folder.
    """
    folder = os.path.dirname(os.path.abspath(list_file))
    return [_locate(path, folder) for path in paths]


def _locate(path: str, folder: str) -> str:
    beside = os.path.join(folder, path)
    return beside if not os.path.lexists(path) and os.path.lexists(beside) else path


def _plan(
    weights: str | os.PathLike[str] | None, *, cqt: str, device: str, threads: int, keep_columns: bool
) -> _Plan:
    from mirex.model.weights import default_path, fingerprint, read_metadata

    if cqt not in IMPLEMENTATIONS:
        raise UsageError(f"cqt {cqt!r}: choose one of {', '.join(IMPLEMENTATIONS)}")
    if device not in DEVICES:
        raise UsageError(f"device {device!r}: choose one of {', '.join(DEVICES)}")
    if threads < 1:
        raise UsageError(f"threads {threads}: must be 1 or more")
    path = Path(weights) if weights else default_path()
    metadata = read_metadata(path)
    front_end = FrontEndSettings.from_json(metadata["front_end"])
    return _Plan(path, fingerprint(metadata), front_end, cqt, device, threads, keep_columns)


def _identify(
    paths: Sequence[str], locations: Sequence[str], threads: int
) -> tuple[list[str | None], dict[int, str]]:
    """The content hash of each file; and, for files that cannot be read, the reason."""
    failures: dict[int, str] = {}

    def identify(index: int) -> str | None:
        try:
            return content_hash(locations[index])
        except (AudioError, OSError) as error:
            failures[index] = str(error)
            return None

    # Threads help: hashing and reading release Python's lock.
    with ThreadPoolExecutor(threads) as executor:
        contents = list(executor.map(identify, range(len(paths))))
    for index, reason in sorted(failures.items()):
        _log_failure(paths[index], reason)
    return contents, failures


def _look_up(store: Store, contents: Sequence[str | None], plan: _Plan) -> dict[str | None, np.ndarray]:
    """What the store has for the recordings, whole."""
    found: dict[str | None, np.ndarray] = {}
    for content in dict.fromkeys(contents):
        if content is None or (plan.keep_columns and store.get(content, kind="columns") is None):
            continue
        embedding = store.get(content)
        if embedding is not None:
            found[content] = embedding
    return found


def _compute(
    store: Store,
    found: dict[str | None, np.ndarray],
    paths: Sequence[str],
    locations: Sequence[str],
    jobs: Mapping[str | None, int],
    plan: _Plan,
    progress: Progress | None,
) -> dict[str | None, str]:
    """Analyse and store what is missing, adding it to `found`; return the reasons of failures."""
    reasons: dict[str | None, str] = {}
    unexpected = 0
    order = sorted(jobs.items(), key=lambda job: job[1])
    if progress and order:
        progress(0, len(order))
    with contextlib.closing(_answers([locations[index] for _, index in order], plan)) as answers:
        for done, (job, answer) in enumerate(answers, 1):
            content, index = order[job]
            if answer.failure is None:
                _keep(store, content, answer, plan)
                found[content] = answer.arrays["embedding"]
                for warning in answer.warnings:
                    log.warning("%s: %s", printable(paths[index]), warning)
            else:
                reasons[content] = " ".join(answer.failure.split())
                unexpected += answer.unexpected
                _log_failure(paths[index], reasons[content])
            if progress:
                progress(done, len(order))
    if unexpected and len(reasons) == len(order) and not found:
        raise MirexError(f"no file could be analysed; the last reason: {next(reversed(reasons.values()))}")
    return reasons


def _keep(store: Store, content: str | None, answer: pool.Answer, plan: _Plan) -> None:
    assert content is not None
    # Columns first: an embedding in the store then says that the recording is done.
    if plan.keep_columns:
        store.put(content, answer.arrays["columns"], kind="columns")
    store.put(content, answer.arrays["embedding"])


def _answers(locations: Sequence[str], plan: _Plan) -> Generator[tuple[int, pool.Answer], None, None]:
    """Answers with an embedding, wherever that is computed."""
    if not locations:
        return
    on_cuda = resolve_device(plan.device) == "cuda"
    embed = _cuda_embedder(plan) if on_cuda else None
    setup = plan.worker_setup(on_cuda=on_cuda)
    with contextlib.closing(pool.run(locations, setup=setup, workers=plan.threads)) as answers:
        for job, answer in answers:
            if embed and answer.failure is None:
                answer.arrays["embedding"] = embed(answer.arrays["columns"])
            yield job, _checked(answer)


def _checked(answer: pool.Answer) -> pool.Answer:
    if answer.failure is None and not np.isfinite(answer.arrays["embedding"]).all():
        return pool.Answer(failure="the network gives no finite embedding for it", unexpected=True)
    return answer


def _cuda_embedder(plan: _Plan) -> Callable[[np.ndarray], np.ndarray]:
    from mirex.model.embedding import embed
    from mirex.model.weights import load

    sealed = load(plan.weights, device="cuda")
    return lambda columns: embed([columns], sealed=sealed)[0]


def resolve_device(device: str) -> str:
    """Where to compute, cpu or cuda, for one of DEVICES. Raises UsageError if cuda is wanted and missing."""
    if device == "cpu" or (device == "auto" and not _has_cuda_driver()):
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if device == "cuda":
        raise UsageError("device cuda: PyTorch finds no CUDA device here; use cpu or auto")
    return "cpu"


def _has_cuda_driver() -> bool:
    """Without the driver there is no CUDA, and no need to load PyTorch to find that out."""
    import ctypes

    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def _assemble(contents: Sequence[str | None], found: Mapping[str | None, np.ndarray]) -> NDArray[np.float32]:
    size = len(next(iter(found.values()))) if found else 2048
    embeddings = np.zeros((len(contents), size), np.float32)
    for index, content in enumerate(contents):
        if content in found:
            embeddings[index] = found[content]
    return embeddings


def _log_start(files: int, found: Mapping, jobs: Mapping, store: Store) -> None:
    damaged = f" ({store.damaged} damaged entries are computed again)" if store.damaged else ""
    log.info(
        "%d files, %d different recordings: %d reused from %s, %d to analyse%s",
        files, len(found) + len(jobs), len(found), store.folder, len(jobs), damaged,
    )  # fmt: skip


def _log_failure(path: str, reason: str) -> None:
    log.warning("failed: %s: %s", printable(path), reason)


def _write_report(path: Path, failures: Sequence[tuple[str, str]]) -> None:
    text = "".join(f"{name}\t{reason}\n" for name, reason in failures)
    try:
        write_whole(path, text.encode("utf-8", "surrogateescape"))
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}") from error
