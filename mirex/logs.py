"""Progress and log lines on stderr.

On a terminal: a tqdm bar with rate and time left. Elsewhere, where the output is probably a log file: a plain
line now and then, and never a carriage return.
"""

import logging
import sys
import time
from typing import IO

from tqdm import tqdm

_FIRST, _GROWTH, _LONGEST = 10.0, 1.5, 300.0  # seconds between plain lines

log = logging.getLogger(__name__)


class ProgressLine:
    """Shows how far a job is: call it with (done, total); use it as a context manager.

    Parameters
    ----------
    stream : file object, optional
        Where to show it; stderr by default.
    unit : str
        What is counted, in the singular.
    """

    def __init__(self, *, stream: IO[str] | None = None, unit: str = "file") -> None:
        self._stream = stream or sys.stderr
        self._unit = unit
        self._bar: tqdm | None = None
        self._start = self._last = time.monotonic()
        self._wait = _FIRST

    def __enter__(self) -> "ProgressLine":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, done: int, total: int) -> None:
        """Report that `done` of `total` files are done; the first call, with 0, starts the clock."""
        if self._stream.isatty():
            self._show_bar(done, total)
        elif not done:
            self._start = self._last = time.monotonic()
        elif done < total and time.monotonic() - self._last >= self._wait:
            self._last = time.monotonic()
            self._wait = min(self._wait * _GROWTH, _LONGEST)
            log.info("%s", describe(done, total, self._last - self._start, unit=self._unit))

    def _show_bar(self, done: int, total: int) -> None:
        if self._bar is None:
            self._bar = tqdm(total=total, unit=self._unit, file=self._stream, dynamic_ncols=True)
        self._bar.update(done - self._bar.n)


def describe(done: int, total: int, seconds: float, *, unit: str = "file") -> str:
    """One plain line: "120 of 1000 files, 3.4 files/s, 4 min left".

    Parameters
    ----------
    done, total : int
        How many are done, of how many.
    seconds : float
        Since the start.
    unit : str
        What is counted, in the singular.

    Returns
    -------
    str
    """
    rate = done / max(seconds, 1e-9)
    return f"{done} of {total} {unit}s, {rate:.3g} {unit}s/s, {_duration((total - done) / rate)} left"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def printable(text: str) -> str:
    """Escape control characters and bytes that are not UTF-8, for a log.

    Parameters
    ----------
    text : str
        Any text.

    Returns
    -------
    str
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class LogHandler(logging.StreamHandler):
    """Writes log lines without breaking a progress bar on the same terminal."""

    def emit(self, record: logging.LogRecord) -> None:
        with tqdm.external_write_mode(file=self.stream):
            super().emit(record)
