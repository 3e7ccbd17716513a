"""The scratch store: arrays kept by the content of the audio that they were computed from.

An entry's key is the SHA-256 of its kind, the audio file's content hash, the decoder's
revision, the front end's fingerprint, the CQT implementation and, for an embedding, the weights'
fingerprint. So a renamed file is found and a changed one is not, and other settings, weights or decoders
never see old results.

An entry is one file: a magic line, one line of JSON (key; shape; for an embedding the recording's
seconds of sound; SHA-256 of the data and these seconds), the data. It is written under a temporary name
and renamed into place, so runs that share the folder, or die, see whole entries or none. Reading checks
everything; a damaged entry counts as missing and is replaced. Nothing is deleted but the writer's
own temporary file.
"""

import errno
import hashlib
import json
import math
import os
from io import BufferedReader
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mirex.errors import AudioError, StoreError, UsageError
from mirex.features.audio import DECODER_REVISION, open_recording
from mirex.files import write_whole
from mirex.untrusted import parse_json

FOLDER = "mirex-store"  # inside the scratch folder
KINDS: dict[str, np.dtype[Any]] = {"embedding": np.dtype("<f4"), "columns": np.dtype("<f2")}
_MAGIC = b"mirex-store 1\n"
_LONGEST_HEADER = 4096


def content_hash(path: str | os.PathLike[str]) -> str:
    """Hash a file.

    Parameters
    ----------
    path : path-like
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
    with open_recording(path) as file:
        return hash_of(file)


def hash_of(file: BufferedReader) -> str:
    """Hash an open file, from where it stands.

    Parameters
    ----------
    file : BufferedReader
        Open for reading, in binary.

    Returns
    -------
    str
        SHA-256 of its bytes, hexadecimal.

    Raises
    ------
    AudioError
        If the file cannot be read.
    """
    try:
        return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise AudioError(f"cannot be read: {(error.strerror or str(error)).lower()}") from error


class Entry(NamedTuple):
    """What an entry holds.

    Attributes
    ----------
    array : array
        Of the entry's kind.
    seconds : float
        The recording's seconds of sound; NaN if unknown.
    """

    array: NDArray[Any]
    seconds: float


class Store:
    """Arrays in `folder`/mirex-store, which is created if missing.

    Parameters
    ----------
    folder : path-like
        The scratch folder.
    front_end, weights : str
        Fingerprints.
    cqt : str
        The implementation that computed the columns.

    Attributes
    ----------
    damaged : int
        How many damaged entries were found so far.

    Raises
    ------
    UsageError
        If the folder's name is empty.
    StoreError
        If the folder cannot be created.
    """

    def __init__(
        self, folder: str | os.PathLike[str], *, front_end: str, weights: str, cqt: str = "multirate"
    ) -> None:
        if not os.fspath(folder):
            raise UsageError("scratch folder '' has no name; name a folder")
        self.folder = Path(folder) / FOLDER
        self.damaged = 0
        self._parts = {"columns": (front_end, cqt), "embedding": (front_end, cqt, weights)}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"scratch folder {os.fspath(folder)!r}: {error.strerror}; name another folder, or make this "
                "one writable"
            ) from error

    def get(self, content: str, *, kind: str = "embedding") -> NDArray[Any] | None:
        """Look up the array of an audio content.

        Parameters
        ----------
        content : str
            Of `content_hash`.
        kind : {"embedding", "columns"}
            What to look up.

        Returns
        -------
        array or None
            None if there is none, or a damaged one.

        Raises
        ------
        StoreError
            If the folder cannot be read.
        """
        entry = self.entry(content, kind=kind)
        return None if entry is None else entry.array

    def entry(self, content: str, *, kind: str = "embedding") -> Entry | None:
        """Look up the array of an audio content together with the recording's seconds of sound.

        Parameters
        ----------
        content : str
            Of `content_hash`.
        kind : {"embedding", "columns"}
            What to look up.

        Returns
        -------
        Entry or None
            None if there is none, or a damaged one.

        Raises
        ------
        StoreError
            If the folder cannot be read.
        """
        key = self._key(content, kind)
        try:
            data = self._path(key, kind).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"{self._path(key, kind)} cannot be read: {error.strerror}") from error
        entry = _parse(data, key, KINDS[kind])
        if entry is None:
            self.damaged += 1
        return entry

    def put(
        self, content: str, array: NDArray[Any], *, kind: str = "embedding", seconds: float = math.nan
    ) -> None:
        """Keep an array, in the kind's type (embedding: float32; columns: float16, clipped to its range).

        Parameters
        ----------
        content : str
            Of `content_hash`.
        array : float array
            What to keep.
        kind : {"embedding", "columns"}
            What it is.
        seconds : float
            The recording's seconds of sound; NaN if unknown.

        Raises
        ------
        StoreError
            If the entry cannot be written.
        """
        key = self._key(content, kind)
        info = np.finfo(KINDS[kind])
        kept = np.ascontiguousarray(np.clip(array, info.min, info.max), dtype=KINDS[kind])
        payload = kept.tobytes()
        header: dict[str, Any] = {"key": key, "shape": kept.shape}
        if not math.isnan(seconds):
            header["seconds"] = round(seconds, 3)
        header["sha256"] = _digest(payload, header.get("seconds"))
        path = self._path(key, kind)
        try:
            # Not the store's own folder: if that is gone, so are the run's results.
            for parent in (path.parent.parent, path.parent):
                parent.mkdir(exist_ok=True)
            write_whole(path, _MAGIC + json.dumps(header).encode() + b"\n" + payload)
        except OSError as error:
            raise self._error(path, error) from error

    def _error(self, path: Path, error: OSError) -> StoreError:
        """What is wrong with the folder, and what to do."""
        scratch = self.folder.parent
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return StoreError(
                f"scratch folder {scratch}: {error.strerror}; free some space and run again (finished work "
                "is kept), or name another folder"
            )
        if not self.folder.exists():
            return StoreError(f"scratch folder {scratch} was removed during the run; run again")
        return StoreError(f"{path} cannot be written: {error.strerror}")

    def _key(self, content: str, kind: str) -> str:
        text = json.dumps([kind, content, DECODER_REVISION, *self._parts[kind]])
        return hashlib.sha256(text.encode()).hexdigest()

    def _path(self, key: str, kind: str) -> Path:
        return self.folder / kind / key[:2] / key


def _digest(payload: bytes, seconds: float | None) -> str:
    """Over the data and, if given, the seconds of sound."""
    return hashlib.sha256(payload + (b"" if seconds is None else repr(seconds).encode())).hexdigest()


def _parse(data: bytes, key: str, dtype: np.dtype) -> Entry | None:
    """What an entry holds, or None if any of its bytes differs from what was written."""
    end = data.find(b"\n", len(_MAGIC), _LONGEST_HEADER)
    if not data.startswith(_MAGIC) or end < 0:
        return None
    payload = data[end + 1 :]
    try:
        header = parse_json(data[len(_MAGIC) : end])
        seconds = header.get("seconds")
        if header["key"] != key or header["sha256"] != _digest(payload, seconds):
            return None
        array = np.frombuffer(payload, dtype).reshape(header["shape"]).copy()
        return Entry(array, math.nan if seconds is None else float(seconds))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):  # JSON of any form
        return None
