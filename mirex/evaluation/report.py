"""Report: one self-contained HTML page on a matrix.

The page contains everything but the audio: style, script, charts (inline SVG) and pictures (inline PNG).
It works offline and loads nothing from the network. Recordings are linked where they are: an absolute path
of the list becomes a `file:` address, a relative one is written relative to the page, so that a folder with
page and audio can be moved as a whole. Charts need the extra `plots`.
"""

import functools
import html
import os
import pathlib
import string
from collections import Counter
from collections.abc import Callable, Iterable
from importlib import resources
from urllib.parse import quote

import numpy as np

from mirex.errors import AudioError, MirexError
from mirex.evaluation import metrics, plots, tables
from mirex.evaluation.evaluate import Evaluation, Interval, summarise
from mirex.evaluation.failures import CliqueCase, QueryCase, distance_histogram, worst_cliques, worst_queries
from mirex.evaluation.hubness import hubness, hubness_facts
from mirex.files import write_whole
from mirex.formats.matrix import Matrix
from mirex.retrieval.alignment import cross_similarity
from mirex.settings import FrontEndSettings

ColumnsOf = Callable[[pathlib.Path], np.ndarray]

TILES = ("map", "rank_1", "mnci10", "mr1")
QUERIES_SHOWN = 30
"""Queries listed under one clique, at most."""


def write_report(
    path: str | pathlib.Path,
    *,
    matrix: Matrix,
    evaluation: Evaluation,
    generator: np.random.Generator,
    cliques: int = 25,
    misses: int = 6,
    audio_root: str | pathlib.Path = ".",
    columns_of: ColumnsOf | None = None,
) -> None:
    """Write the page; it appears whole.

    Parameters
    ----------
    path : path-like
        The page.
    matrix : Matrix
        That was evaluated.
    evaluation : Evaluation
        Must be of this matrix.
    generator : numpy.random.Generator
        Draws the bootstrap samples.
    cliques : int
        How many of the worst cliques to show.
    misses : int
        How many of the worst queries to show, with pictures.
    audio_root : path-like
        Folder that relative paths of the matrix start from.
    columns_of : callable, optional
        Turns a path into CQT columns, float32 [84, columns], for the pictures of the misses. It may raise
        `AudioError`. `recording_columns` by default.

    Raises
    ------
    MirexError
        If matplotlib is missing, or the page cannot be written.

    Examples
    --------
    ::

        matrix = mirex.read_matrix("matrix.txt")
        evaluation = mirex.evaluate(matrix, cliques=mirex.read_cliques("cliques.tsv"))
        generator = numpy.random.default_rng(0)
        mirex.write_report("report.html", matrix=matrix, evaluation=evaluation, generator=generator)
    """
    path = pathlib.Path(path)
    links = Links(
        matrix.names, page_folder=path.resolve().parent, audio_root=pathlib.Path(audio_root).resolve()
    )
    summary = summarise(evaluation, generator=generator)
    parts = {
        **_head(evaluation, summary),
        "hubness": _definitions(hubness_facts(hubness(matrix, labels=evaluation.labels.numbers))),
        **_charts(matrix, evaluation),
        **_cliques(worst_cliques(matrix, evaluation, count=cliques), evaluation, links),
        **_misses(worst_queries(matrix, evaluation, count=misses), evaluation, links, columns_of),
    }
    template = resources.files("mirex.evaluation").joinpath("report_template.html").read_text("utf-8")
    try:
        write_whole(path, string.Template(template).substitute(parts))
    except OSError as error:
        raise MirexError(f"report {path} cannot be written: {error.strerror}; name another file") from error


def recording_columns(path: pathlib.Path) -> np.ndarray:
    """Compute the CQT columns of a recording, with the default front end.

    Parameters
    ----------
    path : Path
        The recording.

    Returns
    -------
    float32 [84, columns]

    Raises
    ------
    AudioError
        If it cannot be decoded.
    """
    from mirex.features import audio, cqt

    return cqt.columns(audio.decode(path))


class Links:
    """Addresses of recordings, as seen from the page.

    Parameters
    ----------
    names : iterable of str
        Of the recordings, as in the matrix.
    page_folder : Path
        Folder of the page.
    audio_root : Path
        Folder that relative names start from.

    Attributes
    ----------
    page_folder, audio_root : Path
        As given.
    repeated : set of str
        Base names that several names share.
    """

    def __init__(self, names: Iterable[str], *, page_folder: pathlib.Path, audio_root: pathlib.Path) -> None:
        self.page_folder, self.audio_root = page_folder, audio_root
        counts = Counter(os.path.basename(name) for name in set(names))
        self.repeated = {base for base, count in counts.items() if count > 1}

    def file(self, name: str) -> pathlib.Path:
        """Locate a recording.

        Parameters
        ----------
        name : str
            As in the matrix.

        Returns
        -------
        Path
        """
        return self.audio_root / name

    def short(self, name: str) -> str:
        """Give the base name; with its folder if other recordings have the same.

        Parameters
        ----------
        name : str
            As in the matrix.

        Returns
        -------
        str
        """
        folder, base = os.path.split(name)
        return os.path.join(os.path.basename(folder), base) if base in self.repeated else base

    def address(self, name: str) -> str:
        """Give the address of a recording.

        Parameters
        ----------
        name : str
            As in the matrix.

        Returns
        -------
        str
            A `file:` address for an absolute name, otherwise one relative to the page.
        """
        if os.path.isabs(name):
            return pathlib.Path(name).as_uri()
        relative = os.path.relpath(self.file(name), self.page_folder)
        return quote("./" + relative.replace(os.sep, "/"), safe="/", errors="surrogateescape")

    def element(self, name: str) -> str:
        """Make a link that plays the recording; grey text if there is no such file.

        Parameters
        ----------
        name : str
            As in the matrix.

        Returns
        -------
        str
            HTML.
        """
        shown, full = _text(self.short(name)), _text(name)
        if not self.file(name).is_file():
            return f'<span class="absent" title="{full}: missing when the page was made">{shown}</span>'
        return f'<a class="play" href="{html.escape(self.address(name))}" title="{full}">{shown}</a>'


def _text(text: str) -> str:
    """Escape for HTML; bytes of a name that are not UTF-8 become replacement characters."""
    return html.escape(text.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))


def _head(evaluation: Evaluation, summary: dict[str, Interval]) -> dict[str, str]:
    rows = tables.rank_table(evaluation)[:-1]
    highest = max(1, *(int(count) for _, count in rows))
    return {
        "title": _text(evaluation.system) or "Distance matrix",
        "facts": _definitions(tables.facts(evaluation)[1:]),
        "tiles": "".join(_tile(name, summary[name]) for name in TILES),
        "metrics": "".join(_metric_row(name, cell) for name, cell in summary.items()),
        "interval_note": "95 % intervals: percentile bootstrap over cliques.",
        "covers_at_rank": "".join(
            _row([("n", rank), ("n", count), ("barcell", _bar(int(count) / highest))]) for rank, count in rows
        ),
        "conventions": _definitions([*metrics.CONVENTIONS.items(), *tables.STATISTICS.items()]),
        "footer": "Made by mirex report. Recordings are played from where they were when the page was made.",
    }


def _bar(share: float) -> str:
    return f'<span class="bar" style="width:{100 * share:.1f}%"></span>'


def _definitions(items: Iterable[tuple[str, str]]) -> str:
    return "".join(f"<dt>{_text(name)}</dt><dd>{_text(words)}</dd>" for name, words in items)


def _tile(name: str, cell: Interval) -> str:
    value, interval = tables.metric_cells(name, cell)
    return (
        f'<div class="card tile"><span class="name">{tables.LABELS[name]}</span><b>{value}</b>'
        f"<span>{interval}</span></div>"
    )


def _metric_row(name: str, cell: Interval) -> str:
    value, interval = tables.metric_cells(name, cell)
    words = _text(metrics.DEFINITIONS[name])
    return _row([("key", tables.LABELS[name]), ("n", value), ("n", interval), ("words", words)])


def _row(cells: Iterable[tuple[str, str]]) -> str:
    """A table row of (class, HTML) cells."""
    return "<tr>" + "".join(f'<td class="{kind}">{content}</td>' for kind, content in cells) + "</tr>"


def _charts(matrix: Matrix, evaluation: Evaluation) -> dict[str, str]:
    histogram = distance_histogram(matrix, evaluation)
    ranks = plots.rank_histogram_figure(evaluation.scores.first_rank, references=len(matrix.names) - 1)
    densities = {"covers": histogram.covers, "others": histogram.others}
    distances = plots.distance_figure(densities, edges=histogram.edges)
    return {"rank_chart": plots.svg(ranks), "distance_chart": plots.svg(distances)}


def _cliques(cases: list[CliqueCase], evaluation: Evaluation, links: Links) -> dict[str, str]:
    total = len(set(evaluation.query_cliques.tolist()))
    return {
        "cliques_note": f"The {len(cases)} cliques with the lowest MAP, of {total}. Open one to see its "
        "queries and what ranked before their covers.",
        "cliques": "".join(_clique(case, evaluation, links, unfolded=case is cases[0]) for case in cases),
    }


def _clique(case: CliqueCase, evaluation: Evaluation, links: Links, *, unfolded: bool) -> str:
    hidden = len(case.queries) - QUERIES_SHOWN
    rows = "".join(_query_row(query, evaluation, links) for query in case.queries[:QUERIES_SHOWN])
    more = f'<p class="note">and {hidden} more</p>' if hidden > 0 else ""
    name, hardest = evaluation.labels.name(case.clique), evaluation.names[case.queries[0].query]
    return (
        f"<details{' open' * unfolded}><summary>"
        f'<span class="title">{_text(name)}</span><span>{_text(links.short(hardest))}</span>'
        f'<span class="n">{len(case.queries)}</span><span class="n">{case.mean_average_precision:.3f}</span>'
        f'<span class="n">{case.mean_rank:.1f}</span></summary><div class="inside"><table><thead><tr>'
        '<th>query</th><th class="n">AP</th><th>first cover</th><th class="n">rank</th>'
        '<th class="n">distance</th><th>first other</th><th class="n">distance</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>{more}</div></details>"
    )


def _query_row(case: QueryCase, evaluation: Evaluation, links: Links) -> str:
    names = evaluation.names
    cells = [
        ("file", links.element(names[case.query])),
        ("n", f"{case.average_precision:.3f}"),
        ("file", links.element(names[case.cover])),
        ("n", str(case.rank)),
        ("n", f"{case.cover_distance:.4f}"),
    ]
    if case.other is not None:
        cells += [("file", links.element(names[case.other])), ("n", f"{case.other_distance:.4f}")]
    return _row(cells)


def _misses(
    cases: list[QueryCase], evaluation: Evaluation, links: Links, columns_of: ColumnsOf | None
) -> dict[str, str]:
    cached = functools.cache(columns_of or recording_columns)
    note = (
        "The queries whose first cover ranks last, one per clique. Dark diagonals are passages that agree; "
        "the orange line is the longest match. A clear diagonal in the plot of a cover means that the "
        "recordings do match and the embeddings missed it."
    )
    return {
        "misses_note": note if cases else "No misses to show.",
        "misses": "".join(_miss(case, evaluation, links, cached) for case in cases),
    }


def _miss(case: QueryCase, evaluation: Evaluation, links: Links, columns_of: ColumnsOf) -> str:
    names = evaluation.names
    figures = [("cover", f"first cover, rank {case.rank}", case.cover, case.cover_distance)]
    if case.other is not None:
        figures.append(("other", "ranked first instead", case.other, case.other_distance))
    return (
        f'<article class="card miss"><h3>{links.element(names[case.query])}</h3>'
        f'<span class="note">{_text(evaluation.labels.name(case.clique))}</span><div class="pair">'
        + "".join(
            f'<figure><figcaption><span class="tag {kind}">{words}</span> {links.element(names[position])} '
            f"at {distance:.4f}</figcaption>"
            f"{_picture(names[case.query], names[position], words, links, columns_of)}</figure>"
            for kind, words, position, distance in figures
        )
        + "</div></article>"
    )


def _picture(first: str, second: str, words: str, links: Links, columns_of: ColumnsOf) -> str:
    """The cross-similarity of two recordings as an `<img>`, or the reason why there is none."""
    try:
        columns = [columns_of(links.file(name)) for name in (first, second)]
    except AudioError as error:
        return f'<div class="empty">no picture: {_text(str(error))}</div>'
    result = cross_similarity(*columns)
    seconds = FrontEndSettings().seconds_per_column
    # The names are above; here, letters that the picture's font lacks would be lost.
    figure = plots.similarity_figure(result, names=("query", words), seconds_per_column=seconds, size=5.0)
    match = plots.describe_match(result, seconds_per_column=seconds)
    return f'<img src="{plots.png_uri(figure)}" alt="cross-similarity, {_text(match)}">'
