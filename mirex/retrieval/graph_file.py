"""The file of a graph of neighbours, which belongs to an index: `songs.mirex.graph`.

The graph is that of HNSW (Y. Malkov, D. Yashunin, "Efficient and robust approximate nearest neighbor search
using Hierarchical Navigable Small World graphs", 2016): all songs are on the ground level, and some also on
the levels above. Only links are stored; the embeddings stay in the index.

Tensors: `levels` int32 [songs], the number of levels of each song; `neighbours` int32, for each song
in turn 2 DEGREE rows of neighbours on the ground level and DEGREE on each level above, -1 for unused
slots. Metadata: `format`, `embeddings` (SHA-256 of the linked matrix of the index), `entry` (row
where a search begins), `recall` (JSON) and `sha256:NAME` of each tensor.

A file from elsewhere may contain anything, and a search follows links unchecked. So reading checks that no
link leads out of the matrix, or to a song that is not on the same level.
"""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mirex.errors import IndexFileError
from mirex.retrieval import index_file
from mirex.retrieval.index_file import Mapped, Part

FORMAT = "mirex-graph-1"
DEGREE = 32
"""Slots of a song on each level above the ground."""
MOST_LEVELS = 6
"""Size of faiss's tables; one song in 10^9 would be on a seventh level."""


@dataclasses.dataclass(frozen=True, eq=False)
class Links:
    """A graph of neighbours.

    Attributes
    ----------
    levels : int32 [songs]
        How many levels each song is on, 1 or more.
    neighbours : int32 [slots]
        Rows, -1 for none; as described above.
    entry : int
        Row of the song where a search begins.
    """

    levels: NDArray[np.int32]
    neighbours: NDArray[np.int32]
    entry: int

    @property
    def offsets(self) -> NDArray[np.int64]:
        """Compute where each song's slots begin.

        Returns
        -------
        int64 [songs + 1]
        """
        return np.concatenate([[0], np.cumsum((self.levels.astype(np.int64) + 1) * DEGREE)])


@dataclasses.dataclass(frozen=True)
class Recall:
    """How many of the nearest songs a graph finds.

    Attributes
    ----------
    share : float
        Share of the nearest songs that are found, in [0, 1].
    queries : int
        How many queries were searched.
    top : int
        How many nearest songs of each were sought.
    distance : float
        Of each query from the song that it was made from.
    """

    share: float
    queries: int
    top: int
    distance: float

    def __str__(self) -> str:
        return f"recall@{self.top} {self.share:.4f} over {self.queries} sampled queries"


def path_of(index: str | os.PathLike[str]) -> Path:
    """Path of the graph of an index.

    Parameters
    ----------
    index : path-like
        The index.

    Returns
    -------
    Path

    Examples
    --------
    >>> path_of("songs.mirex").name
    'songs.mirex.graph'
    """
    return Path(f"{os.fspath(index)}.graph")


def write(path: str | os.PathLike[str], links: Links, *, embeddings: str, recall: Recall) -> None:
    """Write a graph; it appears whole or not at all.

    Parameters
    ----------
    path : path-like
        The file.
    links : Links
        Of the graph.
    embeddings : str
        SHA-256 of the matrix that it links.
    recall : Recall
        As measured.

    Raises
    ------
    IndexFileError
        If it cannot be written.
    """
    parts = {
        "levels": Part(links.levels.shape, [links.levels]),
        "neighbours": Part(links.neighbours.shape, [links.neighbours]),
    }
    metadata = {
        "format": FORMAT,
        "embeddings": embeddings,
        "entry": str(links.entry),
        "recall": json.dumps(dataclasses.asdict(recall)),
    }
    index_file.write(path, parts, metadata=metadata)


def read(path: str | os.PathLike[str]) -> tuple[Links, str, Recall]:
    """Read a graph and check it.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    links : Links
        Of the graph.
    embeddings : str
        SHA-256 of the matrix that it links.
    recall : Recall
        As measured.

    Raises
    ------
    FileNotFoundError
        If there is none.
    IndexFileError
        For a file that is damaged, or something else.
    """
    try:
        mapped = index_file.map_file(path, form=FORMAT)
        mapped.verify()
        links = _links(mapped)
        _check(links)
        return links, mapped.metadata["embeddings"], Recall(**json.loads(mapped.metadata["recall"]))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise IndexFileError(f"{os.fspath(path)} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, IndexFileError) as error:
        raise IndexFileError(
            f"{os.fspath(path)}: not a graph of 'mirex index --approximate', or damaged ({error}); delete it "
            "and make it again"
        ) from error


def _links(mapped: Mapped) -> Links:
    tensors = mapped.tensors
    entry = int(mapped.metadata["entry"])
    return Links(np.asarray(tensors["levels"]), np.asarray(tensors["neighbours"]), entry)


def _check(links: Links) -> None:
    """Check that every link leads to an existing song."""
    levels, neighbours, songs = links.levels, links.neighbours, len(links.levels)
    if songs == 0 or levels.min() < 1 or levels.max() > MOST_LEVELS:
        raise ValueError("songs on levels that do not exist")
    if len(neighbours) != links.offsets[-1] or neighbours.min() < -1 or neighbours.max() >= songs:
        raise ValueError("neighbours that do not exist")
    if not 0 <= links.entry < songs or levels[links.entry] != levels.max():
        raise ValueError(f"the entry, row {links.entry}, is not a song on the highest level")
    for level in range(1, int(levels.max())):
        present = np.flatnonzero(levels > level)
        slots = links.offsets[present][:, None] + (level + 1) * DEGREE + np.arange(DEGREE)
        found = neighbours[slots]
        if (levels[found[found >= 0]] <= level).any():
            raise ValueError(f"neighbours on level {level} that do not exist")
