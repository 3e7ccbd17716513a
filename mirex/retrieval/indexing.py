"""Indexing a collection: extract the recordings that the scratch folder lacks, and put all into an index.

Recordings that cannot be analysed are reported and left out.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from mirex._typing import Array
from mirex.errors import AudioError, IndexFileError, StoreError, UsageError
from mirex.extraction.store import Store
from mirex.model.weights import Sealed
from mirex.retrieval.index import Index, Songs, append
from mirex.retrieval.windows import OF_SONGS, Layout, embed_spans, window_store


@dataclasses.dataclass(frozen=True)
class Indexing:
    """Result of indexing.

    Attributes
    ----------
    index : Index
        As it is now.
    added : int
        Songs that were added; a path that is listed twice is one song.
    failures : mapping of str to str
        {path: reason} of those that could not be.
    """

    index: Index
    added: int
    failures: Mapping[str, str]


def index_collection(
    paths: Sequence[str],
    *,
    output: str | os.PathLike[str],
    scratch: str | os.PathLike[str],
    add: bool = False,
    layout: Layout | None = None,
    **options: Any,
) -> Indexing:
    """Extract a collection and index it.

    Parameters
    ----------
    paths : sequence of str
        Of the recordings.
    output : path-like
        The index.
    scratch : path-like
        Folder that keeps embeddings, as for `mirex.extract`.
    add : bool
        Add to an existing index, where songs with the same path are replaced; otherwise make a new one.
    layout : Layout, optional
        Index windows too, in this layout; an existing index keeps its own.
    options
        Of `mirex.extract`.

    Returns
    -------
    Indexing

    Raises
    ------
    UsageError
        If a file exists that would be overwritten.
    SettingsMismatch
        If the index was made with other weights or another front end; nothing is extracted then.
    AudioError
        If no recording could be analysed.
    IndexFileError
        If the index is damaged or cannot be written.
    """
    from mirex.extraction.extract import extract

    chosen = {"cqt": "multirate", "backend": "torch"} | options
    marks = fingerprints(options.get("weights"), cqt=chosen["cqt"], backend=chosen["backend"])
    check_output(output, add=add, marks=marks)
    if add:
        layout = OF_SONGS if Index(output).window_layout == str(OF_SONGS) else None
    result = extract(paths, scratch=scratch, **{**options, "keep_columns": layout is not None})
    rows = [row for row in range(len(paths)) if row not in result.failures]
    if not rows:
        raise AudioError("no recording could be analysed, so there is nothing to index")
    contents = [content for content in map(result.contents.__getitem__, rows) if content is not None]
    windows = None
    if layout:
        windows = StoredWindows(contents, scratch=scratch, layout=layout, marks=marks)
        windows.fill(
            options.get("weights"),
            device=options.get("device", "auto"),
            threads=options.get("threads", 1),
            backend=chosen["backend"],
        )
    names = [paths[row] for row in rows]
    songs = Songs(names, contents, result.embeddings[rows], windows, result.seconds[rows])
    failures = {paths[row]: reason for row, reason in result.failures.items()}
    if add:
        index = append(output, songs, fingerprints=marks, window_layout=str(layout or ""))
    else:
        index = Index.create(output, songs, fingerprints=marks, window_layout=str(layout or ""))
    return Indexing(index, len(set(names)), failures)


class StoredWindows(Sequence[tuple[Array, Array]]):
    """The windows of recordings, as a sequence that reads them from the scratch store on demand.

    An item is a pair: embeddings, float32 [windows, size], and seconds, float32 [windows, 2].

    Parameters
    ----------
    contents : sequence of str
        SHA-256 of each recording; the store must have its columns.
    scratch : path-like
        Folder of the store.
    layout : Layout
        Of the windows.
    marks : {"front_end", "cqt", "weights": str}
        Fingerprints, under which the store keeps columns and windows.
    """

    def __init__(
        self,
        contents: Sequence[str],
        *,
        scratch: str | os.PathLike[str],
        layout: Layout,
        marks: Mapping[str, str],
    ) -> None:
        self._contents, self._layout = contents, layout
        self._columns = Store(scratch, **marks)
        self._store = window_store(os.fspath(scratch), layout, **marks)
        self._sealed: Sealed | None = None

    def fill(
        self, weights: str | os.PathLike[str] | None, *, device: str, threads: int, backend: str = "torch"
    ) -> None:
        """Embed the windows that the store lacks.

        Parameters
        ----------
        weights : path-like or None
            A sealed file; None: the shipped one.
        device : {"auto", "cpu", "cuda"}
            Of the network.
        threads : int
            Threads that embed, 1 or more; always one for backends other than torch.
        backend : str
            Computes the network.

        Raises
        ------
        StoreError
            If the store no longer has the columns.
        """
        import torch

        from mirex.extraction.extract import resolve_device
        from mirex.model.weights import load

        device = resolve_device(device) if backend == "torch" else "cpu"
        before = torch.get_num_threads()
        torch.set_num_threads(1)  # a window's bytes must not depend on how many threads there are
        self._sealed = load(Path(weights) if weights else None, device=device, backend=backend)
        try:
            # A compiled network takes one request at a time.
            with ThreadPoolExecutor(threads if backend == "torch" else 1) as executor:
                for _ in executor.map(self.__getitem__, range(len(self))):
                    pass
        finally:
            torch.set_num_threads(before)

    def __len__(self) -> int:
        return len(self._contents)

    def __getitem__(self, row):
        content = self._contents[row]
        columns = self._columns.get(content, kind="columns")
        if columns is None or self._sealed is None:
            raise StoreError(
                f"the columns of {content} have disappeared from the scratch folder; run the command again"
            )
        second = self._sealed.front_end.seconds_per_column
        spans = self._layout.spans(columns.shape[1], seconds_per_column=second)
        found = embed_spans(
            columns.astype(np.float32), spans, sealed=self._sealed, store=self._store, content=content
        )
        return found, (spans * second).astype(np.float32)


def check_output(output: str | os.PathLike[str], *, add: bool, marks: Mapping[str, str]) -> None:
    """Check that an index can be written or added to, before hours of work are spent.

    Parameters
    ----------
    output : path-like
        The index.
    add : bool
        Add to an existing index; otherwise make a new one.
    marks : {"front_end", "cqt", "weights": str}
        Fingerprints of the embeddings to add.

    Raises
    ------
    SettingsMismatch
        If the index has other fingerprints.
    UsageError
        If a file exists that would be overwritten.
    IndexFileError
        If the index is missing or damaged, or a new one cannot be written.
    """
    if add:
        Index(output).check(marks)
    elif os.path.lexists(output):
        raise UsageError(f"{os.fspath(output)} already exists; add to it with --append, or delete it")
    elif not os.access(Path(output).absolute().parent, os.W_OK):
        raise IndexFileError(
            f"{os.fspath(output)} cannot be written: the folder does not exist or is read-only; name another"
        )


def fingerprints(
    weights: str | os.PathLike[str] | None, *, cqt: str, backend: str = "torch"
) -> dict[str, str]:
    """Give the fingerprints that embeddings must share to be comparable.

    Parameters
    ----------
    weights : path-like or None
        A sealed file; None: the shipped one.
    cqt : str
        Implementation of the constant-Q transform.
    backend : str
        Computes the network.

    Returns
    -------
    {"front_end", "cqt", "weights": str}

    Raises
    ------
    WeightsError
        If the weights' metadata cannot be read.
    """
    from mirex.model.weights import fingerprint, read_metadata

    metadata = read_metadata(Path(weights) if weights else None)
    named = fingerprint(metadata, backend=backend)
    return {"front_end": metadata["front_end_fingerprint"], "cqt": cqt, "weights": named}
