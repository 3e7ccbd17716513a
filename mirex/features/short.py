"""Short recordings: below some length it is length, not music, that decides what lies near.

An excerpt of 12 s is nearer to other excerpts of 12 s than to the song that it is from, and what is known of
distances (`mirex.retrieval.calibration`) is known from longer recordings. So such recordings are told of, and
their distances stand for no probability.
"""

from collections.abc import Sequence

from mirex._typing import Columns
from mirex.features.views import without_silence
from mirex.settings import FrontEndSettings, NetworkSettings

SHORTEST = 20.0
"""Seconds of sound from which on a recording is compared like any other."""


def seconds_of_sound(columns: Columns, *, front_end: FrontEndSettings, settings: NetworkSettings) -> float:
    """How much of a recording reaches the network.

    Parameters
    ----------
    columns : float32 [84, columns]
        As `mirex.features.cqt.columns` gives them.
    front_end, settings : FrontEndSettings, NetworkSettings
        Length of a column, and what is silence.

    Returns
    -------
    float
        Seconds, without what fills no whole column.
    """
    return without_silence(columns, settings=settings).shape[1] * front_end.seconds_per_column


def is_short(seconds: float) -> bool:
    """Whether so many seconds of sound are too few; not where their number is unknown (NaN).

    Parameters
    ----------
    seconds : float
        As `seconds_of_sound` gives them, so that 20 s may be counted as 19.5.

    Returns
    -------
    bool

    Examples
    --------
    >>> is_short(12.0), is_short(19.97), is_short(float("nan"))
    (True, False, False)
    """
    return seconds < SHORTEST - FrontEndSettings().seconds_per_column


def warning(seconds: float) -> str:
    """What to say of a short recording.

    Parameters
    ----------
    seconds : float
        Of sound.

    Returns
    -------
    str

    Examples
    --------
    >>> warning(12.3)
    'only 12 s of sound: below 20 s distances say little, and stand for no probability'
    """
    return (
        f"only {seconds:.0f} s of sound: below {SHORTEST:.0f} s distances say little, and stand for no "
        "probability"
    )


def notes(names: Sequence[str], seconds: Sequence[float]) -> list[str]:
    """A line for each short recording, once.

    Parameters
    ----------
    names : sequence of str
        As they are to be shown.
    seconds : sequence of float
        Of sound of each; NaN where that is unknown.

    Returns
    -------
    list of str

    Examples
    --------
    >>> notes(["a.wav", "b.wav"], [12.3, 60.0])
    ['a.wav: only 12 s of sound: below 20 s distances say little, and stand for no probability']
    """
    found = {name: length for name, length in zip(names, seconds, strict=True) if is_short(length)}
    return [f"{name}: {warning(length)}" for name, length in found.items()]
