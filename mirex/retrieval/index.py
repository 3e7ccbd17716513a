"""An index: the embeddings of a collection in one file, searched without its audio.

Half precision is enough: rounding changes the distances of embeddings by about 1e-5. A search is exact.
Blocks of the mapped matrix are widened to float32 and multiplied with all queries at once. All candidates
that could be among the nearest, given float32 rounding, are compared again by `mirex.retrieval.distance`. So
the result does not depend on the number of queries, on blocks or on threads.

A change copies the index into a new file that replaces the old one: searches that are running keep using
the old one, and a run that dies leaves it unchanged. A run that changes an index holds a lock on it (`flock`)
and reads it again after acquiring the lock, so that two runs that append at the same time both add their
songs.
"""

import contextlib
import dataclasses
import fcntl
import functools
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mirex.errors import IndexFileError, SettingsMismatch, UsageError
from mirex.logs import printable
from mirex.retrieval import index_file
from mirex.retrieval.distance import distance_matrix
from mirex.retrieval.index_file import BLOCK, FINGERPRINTS, Part

_ROUNDING = 3e-4
"""Twice the error bound of a float32 product of two unit vectors of 2,048 values, sum(|x y|) n 2^-24."""
_IN_CACHE = 512  # rows multiplied at a time
_MOST_SCORES = 1 << 24  # held at a time: 64 MB

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, eq=False)
class Songs:
    """Songs to put into an index.

    Attributes
    ----------
    names : sequence of str
        Paths.
    contents : sequence of str
        SHA-256 of each file, hexadecimal.
    embeddings : float [songs, size]
        Of any length but 0.
    windows : sequence of (float [windows, size], float [windows, 2]), optional
        For each song the embeddings of its windows, and their times in seconds.
    seconds : float [songs], optional
        Seconds of sound in each song; None or NaN if unknown.
    """

    names: Sequence[str]
    contents: Sequence[str]
    embeddings: NDArray
    windows: Sequence[tuple[NDArray, NDArray]] | None = None
    seconds: NDArray | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Neighbours:
    """The songs nearest to one query.

    Attributes
    ----------
    rows : int64 [k]
        Rows of the index.
    distances : float32 [k]
        Ascending.
    """

    rows: NDArray[np.int64]
    distances: NDArray[np.float32]


class Index:
    """An index file, mapped into memory.

    Parameters
    ----------
    path : path-like
        A file that `mirex index` or `Index.create` made.

    Attributes
    ----------
    names : list of str
        Paths of the songs.
    contents : list of str
        SHA-256 of each song's file, hexadecimal.
    embeddings : float16 [songs, size]
        Mapped, read-only.
    seconds : float32 [songs]
        Seconds of sound in each song; NaN if unknown.
    fingerprints : {"front_end", "cqt", "weights": str}
        Embeddings must share them to be comparable.
    windows : float16 [windows, size] or None
        Embeddings of parts of the songs.
    window_song : uint32 [windows]
        The row of each window's song.
    window_seconds : float32 [windows, 2]
        Start and end of each window.

    Raises
    ------
    IndexFileError
        For a file that is missing, damaged, or something else.

    Examples
    --------
    >>> import tempfile
    >>> songs = Songs(["a.mp3", "b.mp3"], ["aa" * 32, "bb" * 32], np.eye(2))
    >>> marks = {"front_end": "f", "cqt": "multirate", "weights": "w"}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     index = Index.create(folder + "/songs.mirex", songs, fingerprints=marks)
    ...     found = index.search(np.array([[0.0, 2.0]]), top=1)[0]
    >>> index.names[found.rows[0]], found.distances.tolist()
    ('b.mp3', [0.0])
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._mapped = index_file.read(path)

    def __len__(self) -> int:
        return len(self.embeddings)

    @functools.cached_property
    def names(self) -> list[str]:
        return index_file.decode_names(self._mapped.tensors["names"])

    @functools.cached_property
    def contents(self) -> list[str]:
        return [row.tobytes().hex() for row in self._mapped.tensors["contents"]]

    @property
    def embeddings(self) -> NDArray[np.float16]:
        return self._mapped.tensors["embeddings"]

    @property
    def seconds(self) -> NDArray[np.float32]:
        return self._mapped.tensors["seconds"]

    @property
    def windows(self) -> NDArray[np.float16] | None:
        return self._mapped.tensors.get("windows")

    @property
    def window_song(self) -> NDArray[np.uint32]:
        return self._mapped.tensors["window_song"]

    @property
    def window_seconds(self) -> NDArray[np.float32]:
        return self._mapped.tensors["window_seconds"]

    @property
    def window_layout(self) -> str:
        """How the windows were laid out.

        Returns
        -------
        str
            "" for an index without windows.
        """
        return self._mapped.metadata.get("window_layout", "")

    @property
    def embeddings_hash(self) -> str:
        """Hash of the embeddings, as the file states it.

        Returns
        -------
        str
            SHA-256 of their bytes, hexadecimal.
        """
        return self._mapped.metadata.get("sha256:embeddings", "")

    @property
    def fingerprints(self) -> dict[str, str]:
        return {name: self._mapped.metadata[name] for name in FINGERPRINTS}

    def check(self, fingerprints: Mapping[str, str]) -> None:
        """Check that embeddings can be compared with those of the index.

        Parameters
        ----------
        fingerprints : {"front_end", "cqt", "weights": str}
            Of the embeddings.

        Raises
        ------
        SettingsMismatch
            If they have other fingerprints.
        """
        for name, own in self.fingerprints.items():
            if fingerprints[name] != own:
                raise SettingsMismatch(
                    f"{self.path}: made with {name.replace('_', ' ')} {own}, but this is "
                    f"{fingerprints[name]}; use the settings of the index "
                    "(--weights, --cqt, --backend), or make it again"
                )

    def verify(self) -> None:
        """Compare every byte with the hashes in the file.

        Raises
        ------
        IndexFileError
            If they differ.
        """
        self._mapped.verify()

    def search(
        self, queries: NDArray, *, top: int = 10, contents: Sequence[str | None] | None = None
    ) -> list[Neighbours]:
        """Find the nearest songs of each query, exactly.

        Parameters
        ----------
        queries : float [queries, size]
            Embeddings of any length but 0.
        top : int
            Songs for each query, 1 or more.
        contents : sequence of str or None, optional
            SHA-256 of each query's file, hexadecimal: songs with the same content are left out.

        Returns
        -------
        list of Neighbours
            One per query; equal distances keep the index's order.

        Raises
        ------
        UsageError
            For queries of another shape, of length 0 or not finite, and for a `top` below 1.
        IndexFileError
            If the index has values that are not finite.
        """
        if top < 1:
            raise UsageError(f"top {top}: give 1 or more")
        units = unit_rows(np.asarray(queries), self.embeddings.shape[1])
        step = max(1, _MOST_SCORES // max(1, len(self)))
        found: list[Neighbours] = []
        for start in range(0, len(units), step):
            part = units[start : start + step]
            scores = products(part, self.embeddings)
            for row, unit in zip(scores, part, strict=True):
                own = self.rows_of(contents[len(found)] if contents else None)
                found.append(self._nearest(row, unit, top, own))
        return found

    def rows_of(self, content: str | None) -> NDArray[np.int64]:
        """Find the songs whose file has a given content.

        Parameters
        ----------
        content : str or None
            SHA-256, hexadecimal; None matches no song.

        Returns
        -------
        int64 [songs found]
            Rows, ascending.
        """
        if content is None:
            return np.empty(0, np.int64)
        wanted = np.frombuffer(bytes.fromhex(content), np.uint8)
        return np.flatnonzero((self._mapped.tensors["contents"] == wanted).all(axis=1))

    def _nearest(self, scores: NDArray, unit: NDArray, top: int, own: NDArray[np.int64]) -> Neighbours:
        scores[own] = -np.inf
        top = min(top, len(scores) - len(own))
        return closest(unit, np.arange(len(scores)), scores, embeddings=self.embeddings, top=top)

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        songs: Songs,
        *,
        fingerprints: Mapping[str, str],
        window_layout: str = "",
    ) -> "Index":
        """Write an index and open it.

        Parameters
        ----------
        path : path-like
            The index, which must not exist yet.
        songs : Songs
            With windows if a layout is given. Of several songs with the same name, the last is kept.
        fingerprints : {"front_end", "cqt", "weights": str}
            Of the songs' embeddings.
        window_layout : str
            Of the songs' windows; "" for an index without.

        Returns
        -------
        Index

        Raises
        ------
        UsageError
            If the file exists, or an embedding has length 0 or is not finite.
        IndexFileError
            If it cannot be written.
        """
        if os.path.lexists(path):
            raise UsageError(f"{os.fspath(path)} already exists; add to it with --append, or delete it")
        _write(path, [_Source.of(songs)], {**fingerprints, "window_layout": window_layout})
        return cls(path)


def append(
    path: str | os.PathLike[str], songs: Songs, *, fingerprints: Mapping[str, str], window_layout: str = ""
) -> Index:
    """Add songs to the end of an index; a song with an existing name replaces the old one.

    If its file has another content, a warning is logged: it may be another song, since an index keeps the
    names as lists have them, not where the files are.

    Parameters
    ----------
    path : path-like
        The index.
    songs : Songs
        With windows if the index has them.
    fingerprints : {"front_end", "cqt", "weights": str}
        Of the songs' embeddings.
    window_layout : str
        Of the songs' windows.

    Returns
    -------
    Index
        As it is now.

    Raises
    ------
    SettingsMismatch
        If fingerprints or layouts differ from the index's.
    IndexFileError
        If the index is damaged or cannot be written.
    """
    with _locked(path) as index:
        index.check(fingerprints)
        if window_layout != index.window_layout:
            raise SettingsMismatch(
                f"{os.fspath(path)}: its windows are {index.window_layout or 'none'}, "
                f"but those of the new songs are {window_layout or 'none'}; use the index's layout"
            )
        new = dict(zip(songs.names, songs.contents, strict=True))
        kept = np.array([name not in new for name in index.names], bool)
        sources = [_Source.kept(index, kept), _Source.of(songs)]
        _write(path, sources, {**fingerprints, "window_layout": window_layout})
        _warn_of_changed(index, new)
    return Index(path)


def _warn_of_changed(index: Index, new: Mapping[str, str]) -> None:
    """Warn of songs whose file has another content than the new one of the same name."""
    changed = [
        name
        for name, content in zip(index.names, index.contents, strict=True)
        if new.get(name, content) != content
    ]
    if changed:
        log.warning(
            "%d songs of the index were replaced by files of the same path with another content, the first: "
            "%s; if these are other songs, append both lists with absolute paths",
            len(changed), printable(changed[0]),
        )  # fmt: skip


def remove(path: str | os.PathLike[str], names: Iterable[str]) -> tuple[Index, list[str]]:
    """Remove songs from an index.

    Parameters
    ----------
    path : path-like
        The index.
    names : iterable of str
        Paths of the songs.

    Returns
    -------
    index : Index
        As it is now.
    absent : list of str
        Names that it did not have.

    Raises
    ------
    IndexFileError
        If the index is damaged or cannot be written.
    """
    gone = dict.fromkeys(names)
    with _locked(path) as index:
        kept = np.array([name not in gone for name in index.names], bool)
        absent = [name for name in gone if name not in set(index.names)]
        if not kept.all():
            metadata = {**index.fingerprints, "window_layout": index.window_layout}
            _write(path, [_Source.kept(index, kept)], metadata)
    return Index(path), absent


@contextlib.contextmanager
def _locked(path: str | os.PathLike[str]) -> Iterator[Index]:
    """The verified index, locked against other changes; waits for a run that is changing it."""
    while True:
        try:
            file = open(path, "r+b")  # noqa: SIM115 (the next statement closes it)
        except FileNotFoundError:
            raise IndexFileError(f"{os.fspath(path)}: no such index; make one with 'mirex index'") from None
        except OSError as error:
            raise IndexFileError(f"{os.fspath(path)} cannot be changed: {error.strerror}") from error
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # Who held the lock may have put a new file in this one's place.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                    index = Index(path)
                    index.verify()
                    yield index
                    return


@dataclasses.dataclass(frozen=True, eq=False)
class _Source:
    """Songs of a new index file.

    contents: uint8 [songs, 32]. embeddings, windows: give the matrices in blocks of rows.
    """

    names: list[str]
    contents: NDArray[np.uint8]
    seconds: NDArray[np.float32]
    size: int
    embeddings: Callable[[], Iterator[NDArray]]
    window_song: NDArray[np.uint32]
    window_seconds: NDArray[np.float32]
    windows: Callable[[], Iterator[NDArray]]

    @classmethod
    def of(cls, songs: Songs) -> "_Source":
        """Take new songs; of several with the same name, the last.

        Parameters
        ----------
        songs : Songs
            The new songs.

        Returns
        -------
        _Source
        """
        last = {name: row for row, name in enumerate(songs.names)}
        rows = sorted(last.values())
        embeddings = np.asarray(songs.embeddings)
        size = embeddings.shape[1]
        contents = b"".join(bytes.fromhex(songs.contents[row]) for row in rows)
        windows = [songs.windows[row] for row in rows] if songs.windows else []
        unknown = np.full(len(embeddings), np.nan)
        seconds = np.asarray(unknown if songs.seconds is None else songs.seconds, np.float32)
        return cls(
            [songs.names[row] for row in rows],
            np.frombuffer(contents, np.uint8).reshape(-1, 32),
            seconds[rows],
            size,
            lambda: (unit_rows(embeddings[rows[i : i + BLOCK]], size) for i in range(0, len(rows), BLOCK)),
            np.repeat(np.arange(len(windows)), [len(each) for each, _ in windows]).astype(np.uint32),
            np.concatenate([np.empty((0, 2)), *(seconds for _, seconds in windows)]).astype(np.float32),
            lambda: (unit_rows(each, size) for each, _ in windows),
        )

    @classmethod
    def kept(cls, index: Index, kept: NDArray[np.bool_]) -> "_Source":
        """Take songs of an index.

        Parameters
        ----------
        index : Index
            An open index.
        kept : bool [songs]
            Which of its songs to keep.

        Returns
        -------
        _Source
        """
        none = index.windows is None
        owners = np.empty(0, np.uint32) if none else np.asarray(index.window_song)
        held = kept[owners]
        numbers = np.cumsum(kept) - 1
        return cls(
            [name for name, keep in zip(index.names, kept, strict=True) if keep],
            np.frombuffer(b"".join(map(bytes.fromhex, index.contents)), np.uint8).reshape(-1, 32)[kept],
            index.seconds[kept],
            index.embeddings.shape[1],
            lambda: _blocks(index.embeddings, kept),
            numbers[owners[held]].astype(np.uint32),
            np.empty((0, 2), np.float32) if none else np.asarray(index.window_seconds)[held],
            lambda: iter(()) if index.windows is None else _blocks(index.windows, held),
        )


def _blocks(matrix: NDArray, kept: NDArray[np.bool_]) -> Iterator[NDArray]:
    for start in range(0, len(matrix), BLOCK):
        yield matrix[start : start + BLOCK][kept[start : start + BLOCK]]


def _write(path: str | os.PathLike[str], sources: Sequence[_Source], metadata: Mapping[str, str]) -> None:
    if len({source.size for source in sources}) > 1:
        raise SettingsMismatch(
            f"embeddings have different sizes: {' and '.join(str(source.size) for source in sources)}"
        )
    size = sources[0].size
    names = index_file.encode_names([name for source in sources for name in source.names])
    contents = np.concatenate([source.contents for source in sources])
    lengths = np.concatenate([source.seconds for source in sources])
    parts = {
        "embeddings": Part((len(contents), size), (b for source in sources for b in source.embeddings())),
        "names": Part(names.shape, [names]),
        "contents": Part(contents.shape, [contents]),
        "seconds": Part(lengths.shape, [lengths]),
    }
    if metadata["window_layout"]:
        starts = np.cumsum([0, *(len(source.names) for source in sources)])
        owners = np.concatenate([s.window_song + start for s, start in zip(sources, starts, strict=False)])
        seconds = np.concatenate([source.window_seconds for source in sources])
        windows = (block for source in sources for block in source.windows())
        parts["windows"] = Part((len(owners), size), windows)
        parts["window_song"] = Part(owners.shape, [owners])
        parts["window_seconds"] = Part(seconds.shape, [seconds])
    index_file.write(path, parts, metadata=metadata)


def closest(
    unit: NDArray[np.float32],
    rows: NDArray[np.int64],
    scores: NDArray[np.float32],
    *,
    embeddings: NDArray[np.float16],
    top: int,
) -> Neighbours:
    """Find the nearest of some rows; where rounding leaves it open, compare them again exactly.

    Parameters
    ----------
    unit : float32 [size]
        The query, of unit length.
    rows : int64 [n]
        Ascending rows of the matrix.
    scores : float32 [n]
        Their products with the query, computed in float32.
    embeddings : float16 [songs, size]
        The matrix.
    top : int
        How many, at most n.

    Returns
    -------
    Neighbours
        Equal distances in the order of the rows.
    """
    if top < 1:
        return Neighbours(np.empty(0, np.int64), np.empty(0, np.float32))
    limit = np.partition(scores, -top)[-top] - _ROUNDING
    rows = rows[scores >= limit]
    distances = distance_matrix(unit[None], embeddings[rows].astype(np.float32))[0]
    order = np.argsort(distances, kind="stable")[:top]
    return Neighbours(rows[order], distances[order])


def products(units: NDArray[np.float32], matrix: NDArray[np.float16]) -> NDArray[np.float32]:
    """Compute products of queries with all rows of a half-precision matrix, in blocks.

    Parameters
    ----------
    units : float32 [queries, size]
        The queries.
    matrix : float16 [rows, size]
        Such as an index's embeddings.

    Returns
    -------
    float32 [queries, rows]

    Raises
    ------
    IndexFileError
        If a value of the matrix is not finite.
    """
    import torch  # widens halves ten times as fast as NumPy

    result = np.empty((len(units), len(matrix)), np.float32)
    queries, target = torch.from_numpy(np.ascontiguousarray(units)), torch.from_numpy(result)
    # Copied first, because PyTorch does not take memory that is read-only, as a mapped file is.
    halves = np.empty((_IN_CACHE, matrix.shape[1]), np.float16)
    widened = torch.empty(halves.shape)
    for start in range(0, len(matrix), _IN_CACHE):
        block = matrix[start : start + _IN_CACHE]
        halves[: len(block)] = block
        rows = widened[: len(block)].copy_(torch.from_numpy(halves)[: len(block)])
        torch.matmul(queries, rows.T, out=target[:, start : start + len(block)])
    if not np.isfinite(result.sum()):
        raise IndexFileError("the index has NaN or infinity: it is damaged, make it again")
    return result


def unit_rows(vectors: NDArray, size: int) -> NDArray[np.float32]:
    """Normalise rows to unit length.

    Parameters
    ----------
    vectors : float [n, size]
        Of any length but 0.
    size : int
        Required size.

    Returns
    -------
    float32 [n, size]

    Raises
    ------
    UsageError
        For another shape, and for a row of length 0 or not finite.
    """
    if vectors.ndim != 2 or vectors.shape[1] != size:
        raise UsageError(f"embeddings have shape {list(vectors.shape)}; give [any number, {size}]")
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    if not (np.isfinite(lengths) & (lengths > 0)).all():
        raise UsageError("an embedding is zero or not finite; extract its recording again")
    return (vectors / lengths).astype(np.float32)
