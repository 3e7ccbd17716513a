"""Damaged and hostile files for our readers: matrices, lists, cliques, the store, weights, indices, corpora.

Each is read in a process of its own, with a bound to its time (5 s of the processor) and to its memory (8
times the file's size and 300 MB, beside what the interpreter holds). Asked of each: a result, or a
`MirexError` that fits a screen.
"""

import multiprocessing
import os
import resource
import signal
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import hypothesis
import numpy as np
import torch
from hypothesis import strategies

from campaign.damage import DAMAGES
from campaign.giants import CONTENT, TEXT_READERS, giants, store
from campaign.outcome import Outcome
from made_corpus import write_chroma, write_scores
from mirex.corpora.profiles import ProfileCorpus
from mirex.corpora.scores import ScoreCorpus
from mirex.errors import MirexError
from mirex.extraction import contents
from mirex.extraction.store import FOLDER
from mirex.formats.check import violations
from mirex.formats.cliques import read_cliques
from mirex.formats.filelist import locate, name_warnings, read_list
from mirex.formats.matrix import read_matrix, write_matrix
from mirex.model import weights
from mirex.retrieval.index import Index, Songs
from mirex.settings import FrontEndSettings, NetworkSettings

PROCESSOR_SECONDS, WALL_SECONDS = 5, 60
TIMES_THE_SIZE, BESIDE = 8, 300 << 20
LONGEST_MESSAGE = 4000
MARKS = {"front_end": "f", "cqt": "multirate", "weights": "w"}


# Readers: what the product does with a file of each kind, to the last byte.


def _matrix(path: Path) -> None:
    read_matrix(path)


def _check(path: Path) -> None:
    assert all(len(str(each)) < LONGEST_MESSAGE for each in violations(path))


def _list(path: Path) -> None:
    paths = read_list(path).paths
    assert all(len(warning) < LONGEST_MESSAGE for warning in name_warnings(paths))
    locate(paths, list_file=path)


def _store(path: Path) -> None:
    """In the place of the entry that is looked for."""
    asked = store(path.parent)
    place = asked._path(asked._key(CONTENT, "embedding"), "embedding")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    os.link(path, place)
    asked.entry(CONTENT)


def _hashed_files(path: Path) -> None:
    folder = path.parent / "memory" / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    (folder / contents.NAME).unlink(missing_ok=True)
    os.link(path, folder / contents.NAME)
    contents.Memory(folder.parent)


def _weights(path: Path) -> None:
    torch.set_num_threads(1)
    weights.load(path)


def _index(path: Path) -> None:
    index = Index(path)
    index.verify()
    assert len(index.names) == len(index.contents) == len(index.seconds)


READERS: dict[str, Callable[[Path], object]] = {
    "matrix": _matrix,
    "check": _check,
    "list": _list,
    "cliques": read_cliques,
    "store": _store,
    "hashed files": _hashed_files,
    "weights": _weights,
    "index": _index,
    "scores": ScoreCorpus.load,
    "profiles": ProfileCorpus.load,
}


def originals(folder: Path) -> dict[str, bytes]:
    """A good file for each reader."""
    names = [f"/music/{number}/track {number}.flac" for number in range(40)]
    rows = np.random.default_rng(0).uniform(0, 2, (12, 40)).astype(np.float32)
    rows[np.arange(12), np.arange(12)] = 0
    write_matrix(folder / "matrix", names=names, query_positions=list(range(12)), rows=rows)
    (folder / "list").write_text("".join(f"{name}\n" for name in names), "utf-8")
    (folder / "cliques").write_text("".join(f"{n}\tclique {i // 3}\n" for i, n in enumerate(names)), "utf-8")
    store(folder / "made").put(CONTENT, np.ones(2048, np.float32), seconds=60.0)
    entry = next(path for path in (folder / "made").rglob("*") if path.is_file())
    lines = [contents._line(f"/music/{n}", (n, 1, 1, n), CONTENT) for n in range(40)]
    (folder / "hashed files").write_bytes(b"".join(lines))
    tensors = {f"cqt.{n}.weight": torch.ones(8, 8) for n in range(20)}
    weights.save(
        tensors, front_end=FrontEndSettings(), settings=NetworkSettings(), metadata={"licence": "none"},
        path=folder / "weights",
    )  # fmt: skip
    songs = Songs([f"{n}.mp3" for n in range(20)], [f"{n:064x}" for n in range(20)], np.eye(20))
    Index.create(folder / "index", songs, fingerprints=MARKS)
    write_scores(folder / "scores.npz")
    write_chroma(folder / "profiles.npz")
    files = {"check": "matrix", "scores": "scores.npz", "profiles": "profiles.npz"}
    found = {name: (folder / files.get(name, name)).read_bytes() for name in READERS if name != "store"}
    return found | {"store": entry.read_bytes()}


# Damage that knows what it damages, beside that of `campaign.damage`.

_ODD = (
    b"", b"-1", b"0", b"nan", b"-0.0", b"1e999", b"1_000", b"0,5", b"9" * 5000, b"\xff\xfe", b"\0", b"\r",
    b"\t\t", b"Q/R", b"\xef\xbb\xbf", b"\xd9\xa1", b"/", b"..", b"#", b"null", b"[]", b"{}", b"[" * 3000,
    b"18446744073709551616", b"a" * 70_000,
)  # fmt: skip


def odd_word(data: bytes, generator: np.random.Generator) -> bytes:
    """One word, between blanks, tabs, commas, colons or line ends, replaced by an odd one."""
    words = [*_words(data[: 1 << 20])]
    if not words:
        return data
    start, end = words[int(generator.integers(len(words)))]
    return data[:start] + _ODD[int(generator.integers(len(_ODD)))] + data[end:]


def _words(data: bytes) -> Iterator[tuple[int, int]]:
    start = 0
    for place, byte in enumerate(data):
        if byte in b" \t\n,:{}[]":
            if place > start:
                yield start, place
            start = place + 1


def repeated_lines(data: bytes, generator: np.random.Generator) -> bytes:
    """A line many times."""
    lines = data.split(b"\n")
    place = int(generator.integers(len(lines)))
    return b"\n".join([*lines[:place], *[lines[place]] * int(generator.integers(2, 50)), *lines[place:]])


# Trying


def try_readers(
    folder: Path,
    *,
    count: int,
    seed: int,
    outcome: Outcome,
    told: Callable[[], None] = lambda: None,
    giant: Callable[[str], bool] = lambda kind: True,
) -> None:
    """Have damaged files read: giants; so many at random; a tenth as much text that hypothesis makes up.

    Parameters
    ----------
    folder : Path
        For everything that is made.
    count : int
        How many files are damaged at random.
    seed : int
        Of the damage.
    outcome : Outcome
        Takes what was found.
    told : callable
        Called from time to time.
    giant : callable
        Whether a kind of giant is tried.
    """
    folder.mkdir(parents=True)
    path = folder / "file"
    for (reader, kind), make in giants().items():
        if giant(kind):
            path.unlink(missing_ok=True)
            make(path)
            _attempt(reader, path, kind, outcome)
    told()
    _try_random(path, originals(folder), count=count, seed=seed, outcome=outcome, told=told)
    _try_made_up(path, count=count // 10, seed=seed, outcome=outcome)


def _try_random(
    path: Path,
    good: dict[str, bytes],
    *,
    count: int,
    seed: int,
    outcome: Outcome,
    told: Callable[[], None],
) -> None:
    generator = np.random.default_rng(seed)
    damages = {name: damage.apply for name, damage in DAMAGES.items()}
    damages |= {"an odd word": odd_word, "lines repeated": repeated_lines}
    kinds = [*damages, *["an odd word"] * 6]
    for number in range(count):
        reader = [*good][number % len(good)]
        kind = kinds[int(generator.integers(len(kinds)))]
        path.unlink(missing_ok=True)
        path.write_bytes(damages[kind](good[reader], generator))
        _attempt(reader, path, kind, outcome)
        if number % 500 == 499:
            told()


def _try_made_up(path: Path, *, count: int, seed: int, outcome: Outcome) -> None:
    pieces = strategies.sampled_from(
        ["\n", "\t", " ", "1", "2", "Q/R", "0.5", "a.wav", "#", "\r\n", "\ufeff", "mirex"]
    )
    text = strategies.lists(pieces | strategies.text(max_size=8), max_size=60).map("".join)

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=max(count, 1), deadline=None, database=None, phases=[hypothesis.Phase.generate],
        suppress_health_check=[*hypothesis.HealthCheck],
    )  # fmt: skip
    @hypothesis.given(strategies.sampled_from(TEXT_READERS), text)
    def attempt(reader: str, made: str) -> None:
        path.unlink(missing_ok=True)
        path.write_bytes(made.encode("utf-8", "surrogatepass"))
        _attempt(reader, path, repr(made[:60]), outcome)

    attempt()


def _attempt(reader: str, path: Path, kind: str, outcome: Outcome) -> None:
    outcome.readings += 1
    found = bounded(READERS[reader], path)
    if found:
        outcome.wrong(f"reader of {reader}", f"{kind}: {found}")


def bounded(read: Callable[[Path], object], path: Path) -> str:
    """What is wrong with how a file is read, in a process of its own; "" if nothing is.

    Parameters
    ----------
    read : callable
        The reader.
    path : Path
        The file.

    Returns
    -------
    str
    """
    context = multiprocessing.get_context("fork")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_read_within_bounds, args=(read, path, sending))
    # Python loses an exception that Ctrl-C raises while it forks.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    process.start()
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    sending.close()
    try:
        if not receiving.poll(WALL_SECONDS):
            return f"hangs for {WALL_SECONDS} s"
        return str(receiving.recv())
    except EOFError:
        process.join()
        return f"took more than {PROCESSOR_SECONDS} s of the processor, or crashed ({process.exitcode})"
    finally:
        process.kill()
        process.join()
        receiving.close()


def _read_within_bounds(read: Callable[[Path], object], path: Path, answer: Connection) -> None:
    size = os.stat(path).st_size
    held = int(Path("/proc/self/statm").read_text("utf-8").split()[0]) * resource.getpagesize()
    limit = held + BESIDE + TIMES_THE_SIZE * size
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR_SECONDS, PROCESSOR_SECONDS))
    try:
        read(path)
        found = ""
    except MirexError as error:
        message = str(error)
        found = "" if len(message) < LONGEST_MESSAGE else f"a message of {len(message)} characters"
    except BaseException as error:  # whatever comes is the finding
        where = traceback.extract_tb(error.__traceback__)[-1]
        found = f"{type(error).__name__}: {str(error)[:200]} ({where.filename}:{where.lineno})"
    answer.send(found)
