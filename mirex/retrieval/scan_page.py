"""A scanned recording as a web page: a timeline to look at and listen to.

The page contains style and script. The recording itself, which may last for hours, is linked by its path
relative to the page, so a folder with both can be moved as a whole.
"""

import html
import os
from importlib import resources
from pathlib import Path
from string import Template
from urllib.parse import quote

from mirex.errors import MirexError
from mirex.files import write_whole
from mirex.logs import printable
from mirex.retrieval.scan import Occurrence, Scan
from mirex.retrieval.tracklist import clock, named_share, title

HUES = 12  # colours that follow each other around the circle


def write_page(scan: Scan, *, path: str | os.PathLike[str]) -> None:
    """Write the page.

    Parameters
    ----------
    scan : Scan
        Result of a scan.
    path : path-like
        The page's file.

    Raises
    ------
    MirexError
        If it cannot be written.
    """
    template = Template(resources.files(__package__).joinpath("scan_page.html").read_text("utf-8"))
    folder = Path(path).resolve().parent
    source = os.path.relpath(os.path.realpath(scan.recording), folder)
    colours = _colours(scan)
    page = template.substitute(
        title=html.escape(printable(title(scan.recording))),
        summary=html.escape(
            f"{clock(scan.seconds)}, {len(scan.occurrences)} songs of {scan.songs} found in "
            f"{100 * named_share(scan):.0f} % of the time; times are accurate to about 15 s; "
            f"weights {scan.weights}"
        ),
        source=html.escape(quote(os.fsencode(source))),
        timeline="\n".join(_bar(each, scan.seconds, colours[each.song]) for each in scan.occurrences),
        rows="\n".join(_row(each, colours[each.song]) for each in scan.occurrences),
        end=clock(scan.seconds),
    )
    try:
        write_whole(path, page)
    except OSError as error:
        raise MirexError(
            f"{os.fspath(path)} cannot be written: {error.strerror}; name another file"
        ) from error


def _colours(scan: Scan) -> dict[str, int]:
    """A hue for each song, far from that of the previous song."""
    songs = dict.fromkeys(each.song for each in scan.occurrences)
    return {song: number * 5 % HUES * 360 // HUES for number, song in enumerate(songs)}


def _bar(each: Occurrence, seconds: float, hue: int) -> str:
    left, width = 100 * each.start / seconds, 100 * (each.end - each.start) / seconds
    label = html.escape(printable(title(each.song)))
    times = f"{clock(each.start)} to {clock(each.end)}, {100 * each.confidence:.0f} %"
    return (
        f'<button class="bar" data-start="{each.start:.2f}" title="{label}: {times}" style="left:{left:.3f}%;'
        f'width:{width:.3f}%;--hue:{hue};--sure:{each.confidence:.2f}"><span>{label}</span></button>'
    )


def _row(each: Occurrence, hue: int) -> str:
    other = ""
    if each.runner_up is not None:
        chance = f"{100 * each.runner_up_confidence:.0f} %"
        other = f"{html.escape(printable(title(each.runner_up)))} ({chance})"
    return (
        f'<tr><td><button class="play" data-start="{each.start:.2f}">{clock(each.start)}</button></td>'
        f"<td>{clock(each.end)}</td><td>{100 * each.confidence:.0f} %</td>"
        f'<td style="--hue:{hue}" class="song" title="{html.escape(printable(each.song))}">'
        f"{html.escape(printable(title(each.song)))}</td><td>{other}</td></tr>"
    )
