"""Accuracy: every system's MIREX figures on one set, from the same CQT columns in one run, as text and JSON.

Every recording is a query, the others its collection; one without another version is a distractor only.
Figures, intervals and tests are those of `mirex.evaluation.evaluate`: bootstrap and permutation over cliques.
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
from mirex.evaluation.evaluate import Difference, Evaluation, Interval
from mirex.evaluation.tables import LABELS
from mirex.formats.matrix import Matrix, write_matrix
from mirex.model.weights import Sealed

FIGURES = ("map", "mr1", "rank_1")
VIEWS = ("both views", "CQT view", "chroma view")
AnyClip = Clip | ProfileClip
CHROMA_ONLY = 1e9  # weight beside which the other view's 1.0 is lost


class Embedding:
    """Our system under test: `mirex.model.embedding` and the cosine distance."""

    def __init__(self, sealed: Sealed, *, name: str = "mirex") -> None:
        self.name = name
        self._sealed = sealed

    def describe(self, columns: Array) -> Array:
        """Embedding: float32 [2048]."""
        from mirex.model.embedding import embed

        return embed([columns], sealed=self._sealed)[0]

    def describe_profile(self, profile: Array) -> Array:
        """Embedding of the chroma view, which is all that a profile has: float32 [2048]."""
        from mirex.model.embedding import embed_profile

        return embed_profile(profile, sealed=self._sealed)

    def compare(
        self, queries: Sequence[Array], references: Sequence[Array], *, progress: Progress | None = None
    ) -> Array:
        return compare_vectors(queries, references)


def view(sealed: Sealed, *, name: str) -> Embedding:
    """The embedding from one view of a recording or from both, whatever the weights were sealed with.

    name: one of VIEWS.
    """
    weights = dict(zip(VIEWS, (sealed.settings.chroma_weight or 1.0, 0.0, CHROMA_ONLY), strict=True))
    settings = dataclasses.replace(sealed.settings, chroma_weight=weights[name])
    return Embedding(sealed._replace(settings=settings), name=f"mirex, {name}")


def played_once(sealed: Sealed) -> Embedding:
    """The embedding as sealed, but without the second playing."""
    settings = dataclasses.replace(sealed.settings, second_longer=0)
    return Embedding(sealed._replace(settings=settings), name="mirex, played once")


class Timed(NamedTuple):
    """A system's distances and their cost.

    describe_seconds: CPU time per recording, from its columns. compare_seconds: CPU time per pair.
    """

    matrix: Matrix
    describe_seconds: float
    compare_seconds: float


def describe(system: System, clip: AnyClip) -> Array:
    """What the system keeps of a clip."""
    if isinstance(clip, ProfileClip):
        return system.describe_profile(clip.profile)
    return system.describe(clip.columns)


def compare_all(clips: Sequence[AnyClip], *, system: System, progress: Progress | None = None) -> Timed:
    """Distances of every clip to every clip. progress: called with (done, total) recordings."""
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
    """The part of the matrix whose queries and references are chosen, bool [clips]."""
    index = np.flatnonzero(chosen)
    names = tuple(timed.matrix.names[i] for i in index.tolist())
    distances = timed.matrix.distances[np.ix_(index, index)]
    return timed._replace(matrix=Matrix(timed.matrix.system, names, np.arange(len(index)), distances))


def save_matrices(results: Sequence[Timed], clips: Sequence[AnyClip], *, title: str, folder: Path) -> None:
    """Write `<title>-<system>.txt`, each a MIREX matrix, and `<title>-cliques.tsv`; blanks become hyphens."""
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


class Row(NamedTuple):
    """One system's line of a table.

    figures: {name of FIGURES: Interval}. lead: by how much the first system's figures are larger, on the
    same queries; None on its own line.
    """

    system: str
    figures: dict[str, Interval]
    lead: dict[str, Difference] | None
    describe_seconds: float
    compare_seconds: float


class Table(NamedTuple):
    """Figures of all systems on one set. queries: those with another version; cliques: theirs."""

    title: str
    recordings: int
    queries: int
    cliques: int
    rows: list[Row]


@dataclasses.dataclass(frozen=True)
class Drawing:
    """Random draws: of the bootstrap (resamples, level), of the permutation test, and their seed."""

    resamples: int = 2000
    permutations: int = 10_000
    level: float = 0.95
    seed: int = 0

    def generator(self) -> np.random.Generator:
        """The same for every system: their intervals then differ by the systems only."""
        return np.random.default_rng(self.seed)


def tabulate(
    title: str, results: Sequence[Timed], *, clips: Sequence[AnyClip], drawing: Drawing | None = None
) -> Table:
    """Score every system's matrix.

    clips: at least those in the matrices. Raises EvaluationError if no clip has another version.
    """
    cliques = {clip.name: clip.work for clip in clips}
    scored = [evaluate.evaluate(result.matrix, cliques=cliques) for result in results]
    first = scored[0]
    rows = [
        _row(result, each, first=first, drawing=drawing or Drawing())
        for result, each in zip(results, scored, strict=True)
    ]
    return Table(title, len(first.names), len(first.scores), len(set(first.query_cliques.tolist())), rows)


def _row(result: Timed, scored: Evaluation, *, first: Evaluation, drawing: Drawing) -> Row:
    options: dict[str, Any] = {"resamples": drawing.resamples, "level": drawing.level}
    summary = evaluate.summarise(scored, generator=drawing.generator(), **options)
    lead = None
    if scored is not first:
        options["permutations"] = drawing.permutations
        differences = evaluate.compare(first, scored, generator=drawing.generator(), **options).differences
        lead = {name: differences[name] for name in FIGURES}
    figures = {name: summary[name] for name in FIGURES}
    return Row(scored.system, figures, lead, result.describe_seconds, result.compare_seconds)


def table_text(table: Table) -> str:
    """The table for a terminal."""
    first = table.rows[0].system
    header = ["system"]
    for name in FIGURES:
        header += [LABELS[name], "interval"]
    header += [f"MAP of {first} minus this", "CPU ms/recording", "CPU ms/pair"]
    counts = f"{table.recordings} recordings; {table.queries} queries of {table.cliques} cliques"
    return f"{table.title}: {counts}\n{aligned([header, *map(_cells, table.rows)])}"


def _cells(row: Row) -> list[str]:
    cells = [row.system]
    for name, figure in row.figures.items():
        digits = 2 if name == "mr1" else 3
        cells += [f"{figure.value:.{digits}f}", f"{figure.low:.{digits}f} to {figure.high:.{digits}f}"]
    lead = ""
    if row.lead:
        found = row.lead["map"]
        lead = f"{found.difference:+.3f} ({found.low:+.3f} to {found.high:+.3f}), p = {found.p:.4f}"
    return [*cells, lead, f"{1000 * row.describe_seconds:.1f}", f"{1000 * row.compare_seconds:.3g}"]


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns of text, two blanks apart."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)


def table_json(table: Table) -> dict[str, Any]:
    """The table as a dictionary for `json.dumps`."""
    rows = [
        row._asdict() | {"figures": _plain(row.figures), "lead": _plain(row.lead) if row.lead else None}
        for row in table.rows
    ]
    return table._asdict() | {"rows": rows}


def _plain(values: Mapping[str, Interval | Difference]) -> dict[str, dict[str, float]]:
    return {name: dataclasses.asdict(value) for name, value in values.items()}
