"""Short recordings: below some length it is length, not music, that decides what is near.

An excerpt of 12 s is nearer to other excerpts of 12 s than to the song that it comes from, and distances were
calibrated (`mirex.retrieval.calibration`) on longer recordings. So such recordings are reported, and
their distances give no probability.
"""

from collections.abc import Sequence

from mirex._typing import Columns
from mirex.features.views import without_silence
from mirex.settings import FrontEndSettings, NetworkSettings

SHORTEST = 20.0
"""Seconds of sound from which a recording is long enough for reliable distances."""


def seconds_of_sound(columns: Columns, *, front_end: FrontEndSettings, settings: NetworkSettings) -> float:
    """Measure how much of a recording reaches the network.

    Parameters
    ----------
    columns : float32 [84, columns]
        As `mirex.features.cqt.columns` gives them.
    front_end, settings : FrontEndSettings, NetworkSettings
        Duration of a column, and the definition of silence.

    Returns
    -------
    float
        Seconds, in whole columns.
    """
    return without_silence(columns, settings=settings).shape[1] * front_end.seconds_per_column


def is_short(seconds: float) -> bool:
    """Whether a recording is too short; False if its length is unknown (NaN).

    Parameters
    ----------
    seconds : float
        From `seconds_of_sound`, which may count 20 s as 19.5.

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
    """Word the warning about a short recording.

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
    'only 12 s of sound: below 20 s distances are unreliable and give no probability'
    """
    return (
        f"only {seconds:.0f} s of sound: below {SHORTEST:.0f} s distances are unreliable and give no "
        "probability"
    )


def notes(names: Sequence[str], seconds: Sequence[float]) -> list[str]:
    """List the short recordings, each once.

    Parameters
    ----------
    names : sequence of str
        As they are to be shown.
    seconds : sequence of float
        Seconds of sound of each; NaN if unknown.

    Returns
    -------
    list of str
        One line each.

    Examples
    --------
    >>> notes(["a.wav", "b.wav"], [12.3, 60.0])
    ['a.wav: only 12 s of sound: below 20 s distances are unreliable and give no probability']
    """
    found = {name: length for name, length in zip(names, seconds, strict=True) if is_short(length)}
    return [f"{name}: {warning(length)}" for name, length in found.items()]
