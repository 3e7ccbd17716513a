"""Works that have versions in several sources, which one draw mixes.

The corpus may have a song as a score, as chroma of its covers and as a recording. Links tell; works that they
connect, directly or through others, are one work with one label. A draw takes the first version from the
source that was asked, and the others in turn from all sources that have the work, so that a recording and a
rendered version of its score are positives.

Doubtful links (the titles fit, but the music does not confirm it) do not join works, but put them into one
family: works of one family are never negatives of each other.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mirex.corpora.archive import Joined
from mirex.corpora.cqt_levels import LevelCorpus
from mirex.corpora.profiles import ProfileCorpus
from mirex.corpora.scores import ScoreCorpus
from mirex.errors import TrainingError
from mirex.training.sources import Draw, Lengths, Source, Version, choose_versions


class Node(NamedTuple):
    """A work of a source, by their numbers."""

    source: int
    work: int


Link = tuple[Node, Node]


@dataclasses.dataclass(frozen=True)
class Numbering:
    """Common numbering of the works of several sources.

    Attributes
    ----------
    labels : list of int64 [all works of the source]
        Equal labels are one work, across all sources.
    families : int64 [labels]
        The family of each label.
    """

    labels: list[NDArray[np.int64]]
    families: NDArray[np.int64]


def number_works(
    counts: Sequence[int], *, links: Iterable[Link] = (), doubtful: Iterable[Link] = ()
) -> Numbering:
    """Number the works of several sources.

    Parameters
    ----------
    counts : sequence of int
        Works of each source.
    links : iterable of pairs of Node
        Works that are the same.
    doubtful : iterable of pairs of Node
        Works that may be the same.

    Returns
    -------
    Numbering
        Labels run from 0 in order of each work's first occurrence.
    """
    first = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    def flat(found: Iterable[Link]) -> list[tuple[int, int]]:
        return [(int(first[a.source]) + a.work, int(first[b.source]) + b.work) for a, b in found]

    sure = flat(links)
    labels = _components(int(first[-1]), sure)
    joined = _components(int(first[-1]), [*sure, *flat(doubtful)])
    families = np.zeros(int(labels.max(initial=-1)) + 1, np.int64)
    families[labels] = joined
    return Numbering(np.split(labels, first[1:-1]), families)


def _components(count: int, pairs: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """The number of each element's connected component, in order of first occurrence."""
    parent = list(range(count))

    def root(element: int) -> int:
        while parent[element] != element:
            parent[element] = parent[parent[element]]
            element = parent[element]
        return element

    for one, other in pairs:
        low, high = sorted((root(one), root(other)))
        parent[high] = low
    # The smallest element of each component is its root, so that roots are in order of occurrence.
    return np.unique([root(element) for element in range(count)], return_inverse=True)[1].astype(np.int64)


class MixedSource:
    """A source whose works also have versions in other sources.

    Parameters
    ----------
    place : int
        Number of this source among `sources`.
    sources : sequence of Source
        All sources.
    numbering : Numbering
        Tells which of their works are the same.
    multiple_weight : float
        Minimum relative frequency of works that other sources have too; others count 1.
    """

    def __init__(
        self,
        place: int,
        sources: Sequence[Source],
        *,
        numbering: Numbering,
        multiple_weight: float = 1.0,
    ) -> None:
        self._place = place
        self._sources = sources
        self._own = sources[place]
        self.works = self._own.works
        self._others = _versions_elsewhere(place, sources, numbering)
        weights = self._own.work_weights.copy()
        several = np.array(sorted(self._others), np.int64)
        weights[several] = np.maximum(weights[several], multiple_weight)
        self.work_weights = weights

    def draw(
        self, work: int, *, lengths: Sequence[Lengths], strength: float, generator: np.random.Generator
    ) -> list[Version]:
        others = self._others.get(work)
        if others is None:
            return self._own.draw(work, lengths=lengths, strength=strength, generator=generator)
        draw = Draw(strength, generator.random(), generator)
        versions = {self._place: self.works[work], **others}
        elsewhere = generator.permutation(sorted(others)).tolist()
        turns = [self._place, *elsewhere]
        asked = [turns[place % len(turns)] for place in range(len(lengths))]
        chosen = {
            s: choose_versions(len(v), asked.count(s), generator) for s, v in versions.items() if s in asked
        }
        drawn = dict.fromkeys(versions, 0)
        found = []
        for source, each in zip(asked, lengths, strict=True):
            siblings, place = versions[source], drawn[source]
            drawn[source] += 1
            index = int(siblings[chosen[source][place]])
            version = self._sources[source].version(
                index, siblings, lengths=each, draw=draw, again=place >= len(siblings)
            )
            found.append(version._replace(origin=source))
        return found

    def version(
        self, index: int, siblings: NDArray[np.int64], *, lengths: Lengths, draw: Draw, again: bool
    ) -> Version:
        return self._own.version(index, siblings, lengths=lengths, draw=draw, again=again)


def _versions_elsewhere(
    place: int, sources: Sequence[Source], numbering: Numbering
) -> dict[int, dict[int, NDArray[np.int64]]]:
    """For each work of a source that others have too: its versions in each of them."""
    holders: dict[int, dict[int, list[NDArray[np.int64]]]] = {}
    for number, source in enumerate(sources):
        if number == place:
            continue
        for work, versions in enumerate(source.works):
            label = int(numbering.labels[number][work])
            holders.setdefault(label, {}).setdefault(number, []).append(versions)
    labels = numbering.labels[place][: len(sources[place].works)].tolist()
    return {
        work: {number: np.concatenate(found) for number, found in holders[label].items()}
        for work, label in enumerate(labels)
        if label in holders
    }


class Linked(NamedTuple):
    """Works that are, or may be, the same."""

    links: list[Link]
    doubtful: list[Link]


def find_links(
    *,
    scores: tuple[int, Joined[ScoreCorpus]] | None = None,
    chroma: tuple[int, Joined[ProfileCorpus]] | None = None,
    recordings: tuple[int, Joined[LevelCorpus]] | None = None,
    table: Path | None = None,
) -> Linked:
    """Find the links between the works of archives, from the archives themselves and from `links.tsv`.

    Only works of the split that was read are linked; links to works of another split are ignored.
    Works of one kind with the same artist and title are linked as doubtful.

    Parameters
    ----------
    scores, chroma, recordings : (int, Joined), optional
        The number of the source, and its archives. The others refer to the first archive of scores: to songs
        by index, and to works by number.
    table : Path, optional
        `links.tsv`: columns hpcp_work and score_work.

    Returns
    -------
    Linked

    Raises
    ------
    TrainingError
        If the table cannot be read.
    """
    links: list[Link] = []
    doubtful: list[Link] = []
    by_number = _by_number(scores) if scores else {}
    if scores and recordings:
        links += _of_recordings(recordings, scores)
    if scores and chroma:
        sure, unsure = _of_profiles(chroma, by_number)
        links, doubtful = links + sure, doubtful + unsure
        if table is not None:
            chroma_works = _by_number(chroma)
            pairs = read_links(table)
            links += [
                (chroma_works[one], by_number[other])
                for one, other in pairs
                if one in chroma_works and other in by_number
            ]
    for found in (scores, chroma, recordings):
        if found:
            doubtful += _same_names(found)
    return Linked(links, doubtful)


def read_links(path: Path) -> list[tuple[int, int]]:
    """Read the rows of `links.tsv`.

    Parameters
    ----------
    path : Path
        The table.

    Returns
    -------
    list of (int, int)
        A work of `hpcp.npz` and the same work of `scores.npz`.

    Raises
    ------
    TrainingError
        If the file cannot be read or is another one.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
        if lines[0].split("\t")[:2] != ["hpcp_work", "score_work"]:
            raise ValueError(f"header {lines[0]!r}")
        rows = [line.split("\t") for line in lines[1:] if line]
        return [(int(row[0]), int(row[1])) for row in rows]
    except (OSError, ValueError, IndexError) as error:
        raise TrainingError(
            f"{path}: not a table with the columns hpcp_work and score_work ({error})"
        ) from error


def _by_number(found: tuple[int, Joined]) -> dict[int, Node]:
    place, archives = found
    return {number: Node(place, work) for work, number in enumerate(archives.numbers.tolist())}


def _work_of_version(found: tuple[int, Joined]) -> dict[int, Node]:
    place, archives = found
    return {
        version: Node(place, work)
        for work, versions in enumerate(archives.works)
        for version in versions.tolist()
    }


def _of_recordings(
    recordings: tuple[int, Joined[LevelCorpus]], scores: tuple[int, Joined[ScoreCorpus]]
) -> list[Link]:
    songs = _work_of_version(scores)
    links = []
    for recording, node in _work_of_version(recordings).items():
        archive, place = recordings[1].at(recording)
        links += [(node, songs[song]) for song in archive.songs(place).tolist() if song in songs]
    return links


def _of_profiles(
    chroma: tuple[int, Joined[ProfileCorpus]], scores: dict[int, Node]
) -> tuple[list[Link], list[Link]]:
    """Links of recordings whose work is confirmed by alignment, and links of the others."""
    found: tuple[list[Link], list[Link]] = ([], [])
    for recording, node in _work_of_version(chroma).items():
        archive, place = chroma[1].at(recording)
        number = archive.score_work(place)
        if number in scores:
            found[0 if archive.confirmed(place) else 1].append((node, scores[number]))
    return found


def _same_names(found: tuple[int, Joined]) -> list[Link]:
    """Works that have versions with the same artist and title."""
    first: dict[str, Node] = {}
    links = []
    for version, node in _work_of_version(found).items():
        name = found[1].names[version].casefold()
        artist, dash, title = name.partition(" - ")
        if not (dash and artist.strip() and title.strip()):
            continue
        if first.setdefault(name, node) != node:
            links.append((first[name], node))
    return links
