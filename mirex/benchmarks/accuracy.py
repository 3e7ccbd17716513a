"""Accuracy: the MIREX figures of every system on one set, from the same CQT columns.

Every recording is a query against all the others. A recording without another version is only a distractor.
Figures, intervals and tests come from `mirex.evaluation.evaluate`: bootstrap and permutation over cliques.
"""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mirex._typing import Array
from mirex.benchmarks.baselines import Progress, System, compare_vectors
from mirex.corpora.clips import Clip, ProfileClip
from mirex.evaluation import evaluate
from mirex.evaluation.evaluate import Difference, Interval
from mirex.evaluation.hubness import hubness, hubness_json
from mirex.evaluation.significance import bootstrap_intervals, permutation_p_values
from mirex.evaluation.tables import LABELS, aligned
from mirex.formats.matrix import Matrix, write_matrix
from mirex.logs import printable
from mirex.model.weights import Sealed

FIGURES = ("map", "mr1", "rank_1")
VIEWS = ("both views", "CQT view", "chroma view")
AnyClip = Clip | ProfileClip
CHROMA_ONLY = 1e9  # so large that the other view's weight of 1.0 vanishes


class Embedding:
    """Our system under test: `mirex.model.embedding` and the cosine distance."""

    def __init__(self, sealed: Sealed, *, name: str = "mirex") -> None:
        self.name = name
        self.settings: dict[str, Any] = {
            "weights": sealed.fingerprint,
            "network": sealed.settings.fingerprint(),
        }
        self._sealed = sealed

    def describe(self, columns: Array) -> Array:
        """Embed a recording.

        Parameters
        ----------
        columns : float32 [84, columns]
            From `mirex.features.cqt`.

        Returns
        -------
        float32 [2048]
            Of unit length.
        """
        from mirex.model.embedding import embed

        return embed([columns], sealed=self._sealed)[0]

    def describe_profile(self, profile: Array) -> Array:
        """Embed a profile: by the chroma view alone, since a profile has no other.

        Parameters
        ----------
        profile : float32 [12, steps]
            As `System.describe_profile` takes it.

        Returns
        -------
        float32 [2048]
            Of unit length.
        """
        from mirex.model.embedding import embed_profile

        return embed_profile(profile, sealed=self._sealed)

    def compare(
        self, queries: Sequence[Array], references: Sequence[Array], *, progress: Progress | None = None
    ) -> Array:
        return compare_vectors(queries, references)


def view(sealed: Sealed, *, name: str) -> Embedding:
    """The embedding from one view of a recording or from both, whatever the weights were sealed with.

    Parameters
    ----------
    sealed : Sealed
        The weights.
    name : str
        One of VIEWS.

    Returns
    -------
    Embedding
    """
    weights = dict(zip(VIEWS, (sealed.settings.chroma_weight or 1.0, 0.0, CHROMA_ONLY), strict=True))
    settings = dataclasses.replace(sealed.settings, chroma_weight=weights[name])
    return Embedding(sealed._replace(settings=settings), name=f"mirex, {name}")


def played_once(sealed: Sealed) -> Embedding:
    """The embedding as sealed, but without the second playing.

    Parameters
    ----------
    sealed : Sealed
        The weights.

    Returns
    -------
    Embedding
    """
    settings = dataclasses.replace(sealed.settings, second_longer=0)
    return Embedding(sealed._replace(settings=settings), name="mirex, played once")


class Timed(NamedTuple):
    """A system's distances and their cost.

    Attributes
    ----------
    matrix : Matrix
        The distances.
    describe_seconds : float
        CPU time per recording, from its columns.
    compare_seconds : float
        CPU time per pair.
    """

    matrix: Matrix
    describe_seconds: float
    compare_seconds: float


def describe(system: System, clip: AnyClip) -> Array:
    """Compute what a system keeps of a clip.

    Parameters
    ----------
    system : System
        The system under test.
    clip : Clip or ProfileClip
        A recording's columns or its profile.

    Returns
    -------
    array
        As the system's `describe` or `describe_profile` gives it.
    """
    if isinstance(clip, ProfileClip):
        return system.describe_profile(clip.profile)
    return system.describe(clip.columns)


def compare_all(clips: Sequence[AnyClip], *, system: System, progress: Progress | None = None) -> Timed:
    """Compute the distances of every clip to every clip.

    Parameters
    ----------
    clips : sequence of Clip or ProfileClip
        The recordings.
    system : System
        The system under test.
    progress : callable, optional
        Called with (done, total) recordings.

    Returns
    -------
    Timed
        The distances, [clips, clips], and their cost.
    """
    start = time.process_time()
    described = [describe(system, clip) for clip in clips]
    middle = time.process_time()
    if progress:
        progress(0, len(clips))
    distances = system.compare(described, described, progress=progress)
    end = time.process_time()
    names = tuple(clip.name for clip in clips)
    matrix = Matrix(system.name, names, np.arange(len(clips)), distances)
    pairs = len(clips) * (len(clips) - 1) / 2
    return Timed(matrix, (middle - start) / len(clips), (end - middle) / max(pairs, 1))


def only(timed: Timed, chosen: NDArray[np.bool_]) -> Timed:
    """Keep the part of a matrix whose queries and references are chosen.

    Parameters
    ----------
    timed : Timed
        Distances of all clips.
    chosen : bool [clips]
        Which clips to keep.

    Returns
    -------
    Timed
        The smaller matrix, with the same times.
    """
    index = np.flatnonzero(chosen)
    names = tuple(timed.matrix.names[i] for i in index.tolist())
    distances = timed.matrix.distances[np.ix_(index, index)]
    return timed._replace(matrix=Matrix(timed.matrix.system, names, np.arange(len(index)), distances))


def save_matrices(results: Sequence[Timed], clips: Sequence[AnyClip], *, title: str, folder: Path) -> None:
    """Write the matrices and the cliques of a set.

    The files are `<title>-<system>.txt`, each a MIREX matrix, and `<title>-cliques.tsv`. Blanks in their
    names become hyphens.

    Parameters
    ----------
    results : sequence of Timed
        One per system.
    clips : sequence of Clip or ProfileClip
        The recordings of the matrices.
    title : str
        The set's name.
    folder : Path
        Where to write; it is created if missing.

    Raises
    ------
    OSError
        As the file system gives it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stem = _hyphenated(title)
    for result in results:
        matrix = result.matrix
        distances = np.maximum(matrix.distances, 0.0)
        # Every recording is a query; rounding leaves some of them 1e-16 from themselves.
        np.fill_diagonal(distances, 0.0)
        write_matrix(
            folder / f"{stem}-{_hyphenated(matrix.system)}.txt",
            names=matrix.names,
            query_positions=matrix.query_positions,
            rows=distances,
            system=matrix.system,
        )
    lines = [f"{clip.name}\t{clip.work}\n" for clip in clips]
    (folder / f"{stem}-cliques.tsv").write_text("".join(lines), encoding="utf-8")


def _hyphenated(text: str) -> str:
    return "-".join(text.replace(",", " ").split())


class Measured(NamedTuple):
    """What is kept of one system on one set: enough to compare it with any other system on the same set.

    Attributes
    ----------
    system : str
        Its printed name.
    settings : dict
        What its distances depend on, besides the recordings.
    average_precision : float64 [queries]
    first_rank : int64 [queries]
        1-based rank of the first version.
    hubness : dict
        As `mirex.evaluation.hubness.hubness_json` gives it.
    describe_seconds, compare_seconds : float
        CPU time per recording, from its columns, and per pair.
    """

    system: str
    settings: dict[str, Any]
    average_precision: NDArray[np.float64]
    first_rank: NDArray[np.int64]
    hubness: dict[str, Any]
    describe_seconds: float
    compare_seconds: float

    def values(self) -> NDArray[np.float64]:
        """Tabulate the values whose means are FIGURES.

        Returns
        -------
        float64 [queries, 3]
            Average precision, rank of the first version, and 1 where that rank is 1.
        """
        return np.column_stack([self.average_precision, self.first_rank, self.first_rank == 1])


class EvaluatedSet(NamedTuple):
    """A set as evaluated.

    Attributes
    ----------
    recordings : int
        Size of the set.
    query_cliques : int64 [queries]
        The clique of each query.
    """

    recordings: int
    query_cliques: NDArray[np.int64]


def measure(
    result: Timed, *, clips: Sequence[AnyClip], settings: Mapping[str, Any] | None = None
) -> tuple[EvaluatedSet, Measured]:
    """Score a system's matrix.

    Parameters
    ----------
    result : Timed
        Of `compare_all`, or a part of it.
    clips : sequence of clips
        At least those in the matrix.
    settings : mapping, optional
        The system's.

    Returns
    -------
    EvaluatedSet, Measured

    Raises
    ------
    EvaluationError
        If no clip has another version.
    """
    scored = evaluate.evaluate(result.matrix, cliques={clip.name: clip.work for clip in clips})
    found = hubness(result.matrix, labels=scored.labels.numbers)
    measured = Measured(
        system=result.matrix.system,
        settings=dict(settings or {}),
        average_precision=scored.scores.average_precision.round(6),
        first_rank=scored.scores.first_rank,
        hubness=hubness_json(found),
        describe_seconds=result.describe_seconds,
        compare_seconds=result.compare_seconds,
    )
    return EvaluatedSet(len(scored.names), scored.query_cliques), measured


class Row(NamedTuple):
    """One system's line of a table.

    Attributes
    ----------
    measured : Measured
        The system's values.
    figures : dict
        {name of FIGURES: Interval}.
    lead : dict or None
        By how much the first system's figures are larger, on the same queries. None for the first system.
    """

    measured: Measured
    figures: dict[str, Interval]
    lead: dict[str, Difference] | None

    @property
    def system(self) -> str:
        return self.measured.system


class Table(NamedTuple):
    """Figures of all systems on one set.

    Attributes
    ----------
    title : str
        The set's name.
    recordings : int
        Size of the set.
    queries : int
        Recordings that have another version.
    cliques : int
        Cliques of the queries.
    rows : list of Row
        One per system.
    """

    title: str
    recordings: int
    queries: int
    cliques: int
    rows: list[Row]


@dataclasses.dataclass(frozen=True)
class Drawing:
    """How intervals and tests are drawn.

    Attributes
    ----------
    resamples : int
        Of the bootstrap.
    permutations : int
        Of the permutation test.
    level : float
        Confidence level of the intervals, in 0..1.
    seed : int
        Of all random draws.
    """

    resamples: int = 2000
    permutations: int = 10_000
    level: float = 0.95
    seed: int = 0

    def generator(self) -> np.random.Generator:
        """Make a seeded generator.

        It is the same for every system, so that their intervals differ only by the systems.

        Returns
        -------
        numpy.random.Generator
        """
        return np.random.default_rng(self.seed)


def tabulate(
    title: str, measured: Sequence[Measured], *, test_set: EvaluatedSet, drawing: Drawing | None = None
) -> Table:
    """Compute intervals of every system's figures, and the first system's lead over the others.

    Parameters
    ----------
    title : str
        The set's name.
    measured : sequence of Measured
        On the same set, with the same queries.
    test_set : EvaluatedSet
        What `measure` says of the set.
    drawing : Drawing, optional
        How intervals and tests are drawn.

    Returns
    -------
    Table
    """
    groups = test_set.query_cliques
    rows = [_row(each, first=measured[0], groups=groups, drawing=drawing or Drawing()) for each in measured]
    return Table(title, test_set.recordings, len(groups), len(set(groups.tolist())), rows)


def _row(measured: Measured, *, first: Measured, groups: NDArray[np.int64], drawing: Drawing) -> Row:
    values = measured.values()
    options: dict[str, Any] = {"groups": groups, "resamples": drawing.resamples, "level": drawing.level}
    bounds = bootstrap_intervals(values, generator=drawing.generator(), **options)
    figures = {
        name: Interval(float(mean), *bound)
        for name, mean, bound in zip(FIGURES, values.mean(axis=0), bounds.tolist(), strict=True)
    }
    return Row(
        measured, figures, None if measured is first else _lead(first.values(), values, groups, drawing)
    )


def _lead(
    first: NDArray[np.float64], other: NDArray[np.float64], groups: NDArray[np.int64], drawing: Drawing
) -> dict[str, Difference]:
    deltas, generator = first - other, drawing.generator()
    bounds = bootstrap_intervals(
        deltas, generator=generator, groups=groups, resamples=drawing.resamples, level=drawing.level
    )
    p_values = permutation_p_values(
        deltas, generator=generator, groups=groups, permutations=drawing.permutations
    )
    table = np.column_stack(
        [first.mean(axis=0), other.mean(axis=0), deltas.mean(axis=0), bounds, p_values]
    ).tolist()
    return {name: Difference(*row) for name, row in zip(FIGURES, table, strict=True)}


def table_text(table: Table) -> str:
    """Format a table for a terminal, with the hubness of its first system.

    Parameters
    ----------
    table : Table
        Of `tabulate`.

    Returns
    -------
    str
        Several lines, without a newline at the end.
    """
    first = table.rows[0].system
    header = ["system"]
    for name in FIGURES:
        header += [LABELS[name], "interval"]
    header += ["CPU ms/recording", "CPU ms/pair", f"MAP of {first} minus this"]
    counts = f"{table.recordings} recordings; {table.queries} queries of {table.cliques} cliques"
    lines = aligned([header, *map(_cells, table.rows)])
    return f"{table.title}: {counts}\n{lines}\n{hubness_line(table.rows[0].measured)}"


def hubness_line(measured: Measured) -> str:
    """Summarise unrelated pairs, skewness and hubs of one system.

    Parameters
    ----------
    measured : Measured
        Of `measure`.

    Returns
    -------
    str
        One line.
    """
    found = measured.hubness
    pairs = max(found["unrelated_pairs"], 1)
    near = ", ".join(
        f"{100 * number / pairs:.3g} % below {limit}"
        for limit, number in found["unrelated_pairs_nearer"].items()
    )
    hubs = ", ".join(f"{hub['recording']} ({hub['k_occurrence']})" for hub in found["hubs"])
    return (
        f"unrelated pairs of {measured.system}: {near}; skewness of {found['k']}-occurrence "
        f"{found['k_occurrence_skewness']:.2f}; hubs: {printable(hubs)}"
    )


def _cells(row: Row) -> list[str]:
    cells = [row.system]
    for name, figure in row.figures.items():
        digits = 2 if name == "mr1" else 3
        cells += [f"{figure.value:.{digits}f}", f"{figure.low:.{digits}f} to {figure.high:.{digits}f}"]
    lead = ""
    if row.lead:
        found = row.lead["map"]
        lead = f"{found.difference:+.3f} ({found.low:+.3f} to {found.high:+.3f}), p = {found.p:.4f}"
    measured = row.measured
    times = [f"{1000 * measured.describe_seconds:.1f}", f"{1000 * measured.compare_seconds:.3g}"]
    return [*cells, *times, lead]
