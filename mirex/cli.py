"""The command line: `mirex <command>`. Parse, call the command, map errors to the exit status.

Exit status: 0 complete, 1 failed or interrupted, 2 usage error. Results go to stdout, everything
else to stderr. MIREX_DEBUG=1 shows the traceback of an error and the messages of workers.
"""

import argparse
import contextlib
import errno
import importlib
import io
import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from types import FrameType

from mirex.errors import MirexError

# In the order of the job; the module of "a-b" is mirex.commands.a_b.
COMMANDS = (
    "demo",
    "extract",
    "query",
    "check",
    "evaluate",
    "report",
    "compare",
    "index",
    "search",
    "scan",
    "corpus",
    "patches",
    "train",
    "seal",
    "weights",
    "whiten",
    "calibrate",
    "export",
    "benchmark-accuracy",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; those of the process by default.

    Returns
    -------
    int
        The exit status.

    Raises
    ------
    SystemExit
        By argparse, with 2, on a usage error.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a path may hold any bytes
    args = build_parser().parse_args(argv)
    with _logging(), _termination():
        try:
            status = args.run(args)
            if sys.stdout:
                sys.stdout.flush()
            return status
        except MirexError as error:
            return _report(f"{error}{_notes(error)}", error.exit_code)
        except KeyboardInterrupt:
            kept = "; finished work is kept, so run the same command again to resume"
            return _report(f"interrupted{kept if _resumes(args) else ''}", 1)
        except BrokenPipeError:
            _drop_unwritten_output()  # the reader has gone
            return 1
        except OSError as error:
            status = _report(_describe(error), 1)
            _drop_unwritten_output()
            return status
        except Exception as error:
            hint = "a defect of the program or the machine; MIREX_DEBUG=1 shows where"
            return _report(f"{type(error).__name__}: {error}{_notes(error)} ({hint})", 1)


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all commands.

    Returns
    -------
    ArgumentParser
    """
    from mirex import __version__

    parser = argparse.ArgumentParser(
        prog="mirex",
        description="Cover song identification. Exit status: 0 complete, 1 failed, 2 usage error.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"mirex {__version__}")
    subparsers = parser.add_subparsers(metavar="<command>", required=True)
    for command in COMMANDS:
        importlib.import_module(f"mirex.commands.{command.replace('-', '_')}").add_parser(subparsers)
    return parser


def _resumes(args: argparse.Namespace) -> bool:
    """Whether the command, run again, goes on where it was: only with a folder that keeps its work."""
    return getattr(args, "scratch", None) is not None or getattr(args, "resumes", False)


def _drop_unwritten_output() -> None:
    """Drop output that stdout refused, so that Python does not complain about it at exit."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _report(message: str, status: int) -> int:
    """Print one line for the reader of the log; the traceback only on request."""
    if os.environ.get("MIREX_DEBUG"):
        logging.getLogger("mirex").exception("traceback")
    print(f"mirex: error: {' '.join(message.split())}", file=sys.stderr)
    return status


def _describe(error: OSError) -> str:
    """The file and the system's message about it, which is not a defect of this program."""
    from mirex.logs import printable

    reason = error.strerror or str(error) or type(error).__name__
    names = (error.filename2, error.filename)  # a file that was to be renamed is known by its destination
    name = next((printable(os.fsdecode(name)) for name in names if isinstance(name, str | bytes)), None)
    advice = "; free some space and run again" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
    return f"{f'{name}: ' if name else ''}{reason}{advice}{_notes(error)}"


def _notes(error: BaseException) -> str:
    return "".join(f" ({note})" for note in getattr(error, "__notes__", ()))


@contextlib.contextmanager
def _logging() -> Iterator[None]:
    """Send the package's messages to stderr, as plain lines."""
    from mirex.logs import LogHandler

    logger, handler = logging.getLogger("mirex"), LogHandler(sys.stderr)
    handler.setFormatter(_Formatter())
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.level, logger.propagate = before


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        level = "warning: " if record.levelno >= logging.WARNING else ""
        return f"mirex: {level}{super().format(record)}"


@contextlib.contextmanager
def _termination() -> Iterator[None]:
    """Let SIGTERM end the run as Ctrl-C does, so that no temporary file is left behind."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not in the main thread: the caller's business
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
