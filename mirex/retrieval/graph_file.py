"""The file of a graph of neighbours, which stands beside an index: `songs.mirex.graph`.

The graph is that of HNSW (Y. Malkov, D. Yashunin, "Efficient and robust approximate nearest neighbor search
using Hierarchical Navigable Small World graphs", 2016): each song is on the ground level, and some are on
the levels above too. Only links are kept; the embeddings stay where they are, in the index.

Tensors: `levels` int32 [songs], the number of levels that each song is on; `neighbours` int32, for each song
in turn 2 DEGREE rows of neighbours on the ground level and DEGREE on each level above, -1 where there are
fewer. Metadata: `format`, `embeddings` (SHA-256 of the matrix of the index that was linked), `entry` (row
where a search begins), `recall` (JSON) and `sha256:NAME` of each tensor.

A file from elsewhere may hold anything, and what walks the graph follows links unchecked: hence no link leads
out of the matrix, or on a level to a song that is not there.
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
"""faiss has tables of so many; a song would be on a seventh once in 10^9."""


@dataclasses.dataclass(frozen=True, eq=False)
class Links:
    """A graph of neighbours.

    Attributes
    ----------
    levels : int32 [songs]
        On how many each song is, 1 or more.
    neighbours : int32 [slots]
        Rows, -1 for none; as the module says.
    entry : int
        Row of the song where a search begins.
    """

    levels: NDArray[np.int32]
    neighbours: NDArray[np.int32]
    entry: int

    @property
    def offsets(self) -> NDArray[np.int64]:
        """int64 [songs + 1]: where each song's slots begin."""
        return np.concatenate([[0], np.cumsum((self.levels.astype(np.int64) + 1) * DEGREE)])


@dataclasses.dataclass(frozen=True)
class Recall:
    """How much of what is nearest a graph finds.

    Attributes
    ----------
    share : float
        Of the nearest songs, those found, in [0, 1].
    queries : int
        How many were searched.
    top : int
        How many nearest of each.
    distance : float
        Of each query from the song that it was made of.
    """

    share: float
    queries: int
    top: int
    distance: float

    def __str__(self) -> str:
        return f"recall@{self.top} {self.share:.4f} over {self.queries} sampled queries"


def path_of(index: str | os.PathLike[str]) -> Path:
    """Where the graph of an index lies.

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
    embeddings : str
        SHA-256 of the matrix that is linked.
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
    embeddings : str
        SHA-256 of the matrix that it links.
    recall : Recall
        As it was measured.

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
    """Everything that is followed must be there."""
    levels, neighbours, songs = links.levels, links.neighbours, len(links.levels)
    if songs == 0 or levels.min() < 1 or levels.max() > MOST_LEVELS:
        raise ValueError("songs on levels that there are not")
    if len(neighbours) != links.offsets[-1] or neighbours.min() < -1 or neighbours.max() >= songs:
        raise ValueError("neighbours that are not there")
    if not 0 <= links.entry < songs or levels[links.entry] != levels.max():
        raise ValueError(f"begins at {links.entry}")
    for level in range(1, int(levels.max())):
        present = np.flatnonzero(levels > level)
        slots = links.offsets[present][:, None] + (level + 1) * DEGREE + np.arange(DEGREE)
        found = neighbours[slots]
        if (levels[found[found >= 0]] <= level).any():
            raise ValueError(f"neighbours on level {level} that are not there")
