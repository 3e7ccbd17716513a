"""Plots by matplotlib, which the extra `plots` installs.

Figures are made without pyplot: no global state, no display. `svg` keeps text as text, so that a page
can set its font and colour; equal input gives equal bytes.
"""

import base64
import io
import pathlib
import re
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from mirex.errors import MirexError
from mirex.extras import how_to_install
from mirex.files import appearing_whole
from mirex.retrieval.alignment import CrossSimilarity

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COVER_COLOUR, OTHER_COLOUR, PATH_COLOUR = "#d1495b", "#5b8e9f", "#ff7f0e"
INK = "#010203"
"""Placeholder for the page's text colour: `svg` replaces it with `currentColor`."""


def new_figure(width: float, height: float) -> "Figure":
    """Make an empty figure.

    Parameters
    ----------
    width, height : float
        Inches.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    MirexError
        If matplotlib is missing; the message names the extra.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MirexError(
            f"plots need matplotlib, which is not installed; {how_to_install('plots')}"
        ) from error
    return Figure(figsize=(width, height), layout="constrained")


def similarity_figure(
    result: CrossSimilarity, *, names: tuple[str, str], seconds_per_column: float, size: float = 6.0
) -> "Figure":
    """Plot a cross-similarity matrix with its best path; axes in minutes and seconds.

    Parameters
    ----------
    result : CrossSimilarity
        Of the two recordings.
    names : (str, str)
        Of the first (vertical axis) and second recording.
    seconds_per_column : float
        Of the CQT columns.
    size : float
        Width in inches; the height is 0.93 of it.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    MirexError
        If matplotlib is missing.
    """
    figure = new_figure(size, size * 0.93)
    axes = figure.subplots()
    cell = seconds_per_column * result.columns_per_cell
    rows, columns = result.similarity.shape
    low, high = np.percentile(result.similarity, [20, 99.8])
    axes.imshow(
        result.similarity,
        origin="lower",
        extent=(0, columns * cell, 0, rows * cell),
        cmap="Greys",
        vmin=low,
        vmax=max(high, low + 1e-6),
        aspect="equal" if 0.4 < rows / columns < 2.5 else "auto",
        interpolation="nearest",
    )
    if len(result.path):
        times = (result.path + 0.5) * cell
        axes.plot(times[:, 1], times[:, 0], color=PATH_COLOUR, linewidth=2.0)
    for axis, name in ((axes.yaxis, names[0]), (axes.xaxis, names[1])):
        axis.set_major_formatter(lambda seconds, _: clock(seconds))
        axis.set_label_text(_shortened(name))
    axes.set_title(describe_match(result, seconds_per_column=seconds_per_column), fontsize="small")
    return figure


def describe_match(result: CrossSimilarity, *, seconds_per_column: float) -> str:
    """Say which parts match, and in which transposition.

    Parameters
    ----------
    result : CrossSimilarity
        Of the two recordings.
    seconds_per_column : float
        Of the CQT columns.

    Returns
    -------
    str
        One line; "no matching part" if there is none.
    """
    parts = result.matching_parts()
    if parts is None:
        return "no matching part"
    times = [" to ".join(clock(column * seconds_per_column) for column in part) for part in parts]
    semitones = result.transposition
    shift = f"{semitones:+d} semitone{'s' * (abs(semitones) > 1)}" if semitones else "same key"
    return f"longest match: {times[0]} and {times[1]} ({shift})"


def clock(seconds: float) -> str:
    """Format a time as minutes and seconds.

    Parameters
    ----------
    seconds : float
        Rounded to whole seconds.

    Returns
    -------
    str

    Examples
    --------
    >>> clock(83.6)
    '1:24'
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


def rank_histogram_figure(first_ranks: np.ndarray, *, references: int) -> "Figure":
    """Plot how many queries find their first cover at which rank; bins double in width from rank 1.

    Parameters
    ----------
    first_ranks : int [q]
        Rank of each query's first cover, from 1.
    references : int
        Number of references of a query: the largest rank.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    MirexError
        If matplotlib is missing.
    """
    edges = rank_bins(references)
    counts = np.histogram(first_ranks, bins=edges)[0]
    figure = new_figure(6.4, 3.2)
    axes = figure.subplots()
    bars = axes.bar(range(len(counts)), counts, color=[COVER_COLOUR, *[OTHER_COLOUR] * (len(counts) - 1)])
    axes.bar_label(bars, labels=[str(count) if count else "" for count in counts], fontsize=8, color=INK)
    labels = [str(a) if b - a == 1 else f"{a}–{b - 1}" for a, b in zip(edges, edges[1:], strict=False)]
    axes.set_xticks(range(len(counts)), labels, fontsize=8)
    axes.set_xlabel("rank of the first cover")
    axes.set_ylabel("queries")
    _plain(axes)
    return figure


def rank_bins(references: int) -> list[int]:
    """Compute bin edges 1, 2, 3, 5, 9, 17, ... up to the number of references.

    Parameters
    ----------
    references : int
        Number of references of a query: the largest rank, at least 1.

    Returns
    -------
    list of int
        A bin has the ranks from one edge up to, but not including, the next; the last edge is
        `references` + 1.

    Examples
    --------
    >>> rank_bins(20)
    [1, 2, 3, 5, 9, 17, 21]
    """
    edges = [1, 2]
    while edges[-1] <= references:
        edges.append(min(2 * edges[-1] - 1 if edges[-1] > 2 else 3, references + 1))
    return edges


def distance_figure(densities: Mapping[str, np.ndarray], *, edges: np.ndarray) -> "Figure":
    """Plot the distributions of the distances of covers and of others, each normalised by itself.

    Parameters
    ----------
    densities : mapping of str to int [bins]
        {name: pairs per bin}: two entries, covers first.
    edges : float [bins + 1]
        Of the bins, ascending.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    MirexError
        If matplotlib is missing.
    """
    figure = new_figure(6.4, 3.2)
    axes = figure.subplots()
    for (name, counts), colour in zip(densities.items(), (COVER_COLOUR, OTHER_COLOUR), strict=True):
        share = 100 * counts / max(1, counts.sum())
        axes.stairs(share, edges, fill=True, color=colour, alpha=0.35)
        axes.stairs(share, edges, color=colour, linewidth=1.6, label=f"{name} ({counts.sum():,})")
    axes.set_xlabel("distance")
    axes.set_ylabel("% of pairs")
    axes.legend(frameon=False, labelcolor=INK)
    _plain(axes)
    return figure


def _plain(axes: "Axes") -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)
    axes.tick_params(colors=INK)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)


def _shortened(name: str, *, length: int = 60) -> str:
    """Text that matplotlib can draw: valid, and without a dollar sign that would start a formula."""
    name = name.encode("utf-8", "replace").decode().replace("$", r"\$")
    return name if len(name) <= length else f"{name[: length // 2]}…{name[-length // 2 :]}"


def svg(figure: "Figure") -> str:
    """Turn a figure into an `<svg>` element for a page: without ids that could clash, in the page's colour.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        Any figure.

    Returns
    -------
    str
        The element.
    """
    import matplotlib

    stream = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "mirex"}):
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    return text.replace(INK, "currentColor")


def png_uri(figure: "Figure", *, dpi: int = 100) -> str:
    """Turn a figure into a `data:` address for an `<img>` element.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        Any figure.
    dpi : int
        Pixels per inch.

    Returns
    -------
    str
    """
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=dpi)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def save(figure: "Figure", path: str | pathlib.Path) -> None:
    """Write a figure.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        Any figure.
    path : path-like
        The file to write; its extension decides the format (png, svg, pdf).

    Raises
    ------
    MirexError
        If the file cannot be written, or its extension is unknown.
    """
    try:
        with warnings.catch_warnings():
            # A letter that the font lacks is drawn as a box, which is clear enough.
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            with appearing_whole(path) as temporary:
                figure.savefig(temporary, format=pathlib.Path(path).suffix[1:] or None, dpi=150)
    except (OSError, ValueError) as error:
        raise MirexError(f"picture {path} cannot be written: {error}; name another file") from error
