"""Remembered content hashes: a file that was hashed once is not read again until it changes.

A scratch folder keeps one text file of hashes. For each file it records, by absolute path: size, times of the
last change (of the data and of the inode, in ns), inode, SHA-256. A hash is trusted only if all of them still
hold. As in git's index ("racy git"), a file that changed shortly before it was hashed is not remembered,
because a later change might get the same time from the file system's clock.

The text file is only appended to, many lines in one write, each line with its own checksum. So runs may
share it without locks, which network file systems may lack. Lines that are torn, lost or damaged are not
trusted; their files are read again.
"""

import errno
import hashlib
import json
import logging
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mirex.errors import AudioError, MirexError
from mirex.extraction.store import FOLDER, hash_of
from mirex.features.audio import open_recording
from mirex.files import write_whole
from mirex.logs import describe
from mirex.untrusted import parse_json

NAME = "hashed-files"  # in the store's folder
_CHECK_DIGITS = 16
_FINE, _COARSE = 100_000_000, 2_000_000_000  # ns: above Linux's clock tick; FAT's two seconds
_APPEND_EVERY = 10.0  # seconds; bounds what a killed run loses
_SAY_EVERY = 60.0  # seconds
_WORTH_TIDYING = 10_000  # lines that newer ones replace

State = tuple[int, ...]

log = logging.getLogger(__name__)


def identify(
    locations: Sequence[str],
    *,
    scratch: str | os.PathLike[str],
    threads: int = 1,
    rehash: bool = False,
) -> tuple[list[str | None], dict[int, str]]:
    """Content hashes of files; only files that the scratch folder does not remember are read.

    Parameters
    ----------
    locations : sequence of str
        Paths of the files.
    scratch : path-like
        The folder that remembers; where it cannot be written, nothing is remembered.
    threads : int
        Files to read at a time, 1 or more.
    rehash : bool
        Read every file, whatever is remembered.

    Returns
    -------
    contents : list of str or None
        For each file the SHA-256 of its bytes, hexadecimal; None if it cannot be read.
    failures : dict of int to str
        For each index without a hash, the reason, in the order of the list.

    Raises
    ------
    MirexError
        If the process may open no more files.
    """
    memory = Memory(scratch, trusted=not rehash)
    failures: dict[int, str] = {}

    def look(index: int) -> str | None:
        try:
            return memory.content(locations[index])
        except AudioError as error:
            _end_without_handles(error)
            failures[index] = str(error)
            return None

    # Threads help: hashing and reading release Python's lock.
    with ThreadPoolExecutor(threads) as executor:
        contents = list(_told(executor.map(look, range(len(locations))), len(locations), memory))
    memory.keep()
    return contents, dict(sorted(failures.items()))


class Memory:
    """What a scratch folder knows of files; safe for use by several threads.

    Parameters
    ----------
    scratch : path-like
        The folder; need not exist.
    trusted : bool
        Whether to use what it remembers; new hashes are kept either way.
    """

    def __init__(self, scratch: str | os.PathLike[str], *, trusted: bool = True) -> None:
        self._path = Path(scratch) / FOLDER / NAME
        self._known, lines = _read(self._path) if trusted else ({}, 0)
        self._new: list[tuple[str, State, str]] = []
        if lines - len(self._known) > max(_WORTH_TIDYING, len(self._known)):
            self._tidy()

    def content(self, path: str) -> str:
        """Look up or compute a file's content hash.

        Parameters
        ----------
        path : str
            Path of the file.

        Returns
        -------
        str
            SHA-256 of its bytes, hexadecimal.

        Raises
        ------
        AudioError
            If the file cannot be read.
        """
        # Open it even if it is known: an unreadable file must fail every time, and NFS then asks the server.
        with open_recording(path) as file:
            key, state = os.path.abspath(path), _state(file.fileno())
            known = self._known.get(key)
            if known and known[0] == state:
                return known[1]
            started = time.time_ns()
            content = hash_of(file)
            if _settled(state, started):
                self._known[key] = state, content
                self._new.append((key, state, content))
        return content

    def keep(self) -> None:
        """Write down the new hashes since the last call."""
        count = len(self._new)
        new, self._new[:count] = self._new[:count], []
        if not new:
            return
        # A newline first, so that the torn line of a killed run cannot spoil our first one.
        data = b"\n" + b"".join(_line(*entry) for entry in new)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                os.write(descriptor, data)
            finally:
                os.close(descriptor)
        except OSError as error:
            log.debug("%s: %s", self._path, error.strerror)

    def _tidy(self) -> None:
        """Drop lines that newer ones replace. Lines that another run appends at the same time may be lost."""
        try:
            write_whole(self._path, b"".join(_line(key, *known) for key, known in self._known.items()))
        except OSError as error:
            log.debug("%s: %s", self._path, error.strerror)


def _state(descriptor: int) -> State:
    """What changes when a file does; the inode's time does so even if a program resets the data's time."""
    found = os.fstat(descriptor)
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def _settled(state: State, started: int) -> bool:
    """Whether any change after the hashing began is bound to show in the file's time."""
    modified = state[1]
    granularity = _FINE if modified % 1_000_000_000 else _COARSE
    return started - modified >= granularity


def _line(key: str, state: State, content: str) -> bytes:
    text = json.dumps([key, *state, content]).encode()
    return _check(text) + b" " + text + b"\n"


def _check(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest()[:_CHECK_DIGITS].encode()


def _read(path: Path) -> tuple[dict[str, tuple[State, str]], int]:
    """{absolute path: (state, content)} of the intact lines, of which later ones count; and their number."""
    known: dict[str, tuple[State, str]] = {}
    lines = 0
    try:
        data = path.read_bytes()
    except OSError:
        return known, lines
    for line in data.split(b"\n"):
        check, _, text = line.partition(b" ")
        if text and _check(text) == check:
            try:
                key, *state, content = parse_json(text)
                known[key] = tuple(state), content
            except (ValueError, TypeError):  # another program's, with a checksum of ours
                continue
            lines += 1
    return known, lines


def _told(found: Iterator[str | None], total: int, memory: Memory) -> Iterator[str | None]:
    """Pass the hashes on; now and then keep the new ones and log the progress."""
    start = kept = said = time.monotonic()
    for done, content in enumerate(found, start=1):
        yield content
        now = time.monotonic()
        if now - kept >= _APPEND_EVERY:
            memory.keep()
            kept = now
        if now - said >= _SAY_EVERY:
            log.info("hashed: %s", describe(done, total, now - start))
            said = now


def _end_without_handles(error: AudioError) -> None:
    """Running out of handles is not the file's fault, and would fail every file: end the run."""
    cause = error.__context__
    if isinstance(cause, OSError) and cause.errno in (errno.EMFILE, errno.ENFILE):
        raise MirexError(f"{cause.strerror}: raise the limit (ulimit -n) or lower --num-threads") from None
