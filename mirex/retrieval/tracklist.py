"""The songs of a scanned recording as text, for people and for other programs.

CSV and JSON; a cue sheet (https://wiki.hydrogenaud.io/index.php?title=Cue_sheet: 75 frames per second, with
tracks "unknown" between the songs); Audacity's label track (start and end in seconds, label, separated by
tabs).
"""

import csv
import dataclasses
import io
import json
import os

from mirex.logs import printable
from mirex.retrieval.scan import Scan

SHORTEST_UNKNOWN = 15.0  # seconds without a song that become a track of a cue sheet
_FILE_TYPES = {".mp3": "MP3", ".aif": "AIFF", ".aiff": "AIFF"}


def text(scan: Scan) -> str:
    """Format the songs for a terminal.

    Parameters
    ----------
    scan : Scan
        A scanned recording.

    Returns
    -------
    str
        Lines, without a line break at the end.
    """
    lines = [
        f"{printable(scan.recording)}, {clock(scan.seconds)}: {len(scan.occurrences)} songs of {scan.songs}, "
        f"{100 * named_share(scan):.0f} % of the time; weights {scan.weights}"
    ]
    if scan.occurrences:
        lines += ["", f"{'start':>8}  {'end':>8}  {'sure':>5}  song"]
    for each in scan.occurrences:
        times = f"{clock(each.start):>8}  {clock(each.end):>8}"
        lines.append(f"{times}  {100 * each.confidence:>3.0f} %  {printable(each.song)}")
        if each.runner_up and each.runner_up_confidence >= 0.05:
            chance = f"{100 * each.runner_up_confidence:.0f} %"
            lines.append(f"{'':>27}  or {printable(each.runner_up)} ({chance})")
    return "\n".join(lines)


def named_share(scan: Scan) -> float:
    """Compute the share of the recording's time that is identified.

    Parameters
    ----------
    scan : Scan
        A scanned recording.

    Returns
    -------
    float
        In [0, 1].
    """
    return sum(each.end - each.start for each in scan.occurrences) / max(scan.seconds, 1e-9)


def as_json(scan: Scan) -> str:
    """Format the whole scan as JSON.

    Parameters
    ----------
    scan : Scan
        A scanned recording.

    Returns
    -------
    str
    """
    return json.dumps(dataclasses.asdict(scan), indent=2)


def as_csv(scan: Scan) -> str:
    """Format the songs as CSV with a header.

    Parameters
    ----------
    scan : Scan
        A scanned recording.

    Returns
    -------
    str
        Times in seconds.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["start", "end", "song", "confidence", "runner_up", "runner_up_confidence"])
    for each in scan.occurrences:
        second = "" if each.runner_up is None else _valid(each.runner_up)
        chances = f"{each.confidence:.4f}", f"{each.runner_up_confidence:.4f}"
        times = f"{each.start:.2f}", f"{each.end:.2f}"
        writer.writerow([*times, _valid(each.song), chances[0], second, chances[1]])
    return stream.getvalue().rstrip("\n")


def as_cue(scan: Scan) -> str:
    """Format the songs as a cue sheet.

    Parameters
    ----------
    scan : Scan
        A scanned recording.

    Returns
    -------
    str
        As described above.
    """
    name = os.path.basename(scan.recording)
    kind = _FILE_TYPES.get(os.path.splitext(name)[1].lower(), "WAVE")
    lines = [f'FILE "{_quoted(name)}" {kind}']
    for number, (start, title) in enumerate(_tracks(scan), 1):
        lines += [
            f"  TRACK {number:02d} AUDIO",
            f'    TITLE "{_quoted(title)}"',
            f"    INDEX 01 {_cue_time(start)}",
        ]
    return "\n".join(lines)


def _tracks(scan: Scan) -> list[tuple[float, str]]:
    """(start, title) of the tracks, without gaps."""
    tracks, end = [], 0.0
    for each in scan.occurrences:
        if each.start - end >= SHORTEST_UNKNOWN:
            tracks.append((end, "unknown"))
        tracks.append((each.start, title(each.song)))
        end = each.end
    if scan.seconds - end >= SHORTEST_UNKNOWN:
        tracks.append((end, "unknown"))
    return tracks


def as_labels(scan: Scan) -> str:
    """Format the songs as a label track for Audacity (File > Import > Labels).

    Parameters
    ----------
    scan : Scan
        A scanned recording.

    Returns
    -------
    str
        As described above.
    """
    return "\n".join(
        f"{each.start:.6f}\t{each.end:.6f}\t{printable(title(each.song))} ({100 * each.confidence:.0f} %)"
        for each in scan.occurrences
    )


def title(path: str) -> str:
    """Give a file's name without folder and extension.

    Parameters
    ----------
    path : str
        Of a song.

    Returns
    -------
    str

    Examples
    --------
    >>> title("/music/Artist - Song.mp3")
    'Artist - Song'
    """
    return os.path.splitext(os.path.basename(path))[0]


def clock(seconds: float) -> str:
    """Format a time as hours, minutes and seconds.

    Parameters
    ----------
    seconds : float
        0 or more.

    Returns
    -------
    str
        Rounded to seconds; without hours if there are none.

    Examples
    --------
    >>> clock(83.6), clock(3725)
    ('1:24', '1:02:05')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _cue_time(seconds: float) -> str:
    frames = round(seconds * 75)
    return f"{frames // 4500:02d}:{frames // 75 % 60:02d}:{frames % 75:02d}"


def _quoted(name: str) -> str:
    return printable(_valid(name)).replace('"', "'")


def _valid(name: str) -> str:
    return os.fsencode(name).decode("utf-8", "replace")
