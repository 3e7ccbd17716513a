"""One module per command of the command line; each has `add_parser` and `run`.

This module holds what several commands have in common.
"""

import argparse
import os
from pathlib import Path
from typing import Any

from mirex.extraction.pool import TIME_LIMIT

MOST_DEFAULT_THREADS = 16  # each worker takes some 500 MB


def program(command: str) -> str:
    """Name of the program in usage lines.

    Parameters
    ----------
    command : str
        The subcommand.

    Returns
    -------
    str
        `mirex <command>`, or the name of the script that calls it.
    """
    return os.environ.get("MIREX_PROGRAM") or f"mirex {command}"


def add_extraction_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mirex.extract`.

    Parameters
    ----------
    parser : ArgumentParser
        Of a command that extracts.
    """
    threads = min(len(os.sched_getaffinity(0)), MOST_DEFAULT_THREADS)
    parser.add_argument(
        "-numThreads", dest="threads", type=_count, default=threads, metavar="N",
        help=f"worker processes, one thread each (default {threads})",
    )  # fmt: skip
    parser.add_argument(
        "--num-threads", dest="threads", type=_count, default=argparse.SUPPRESS, help=argparse.SUPPRESS
    )
    # With metavars, so that the help does not list the choices: it must fit on a screen.
    parser.add_argument(
        "--device", metavar="D", choices=("auto", "cpu", "cuda"), default="auto",
        help="where to compute: cpu, cuda or auto (default auto)",
    )  # fmt: skip
    parser.add_argument(
        "--cqt", metavar="C", choices=("multirate", "essentia"), default="multirate",
        help="CQT implementation: multirate (default) or essentia",
    )  # fmt: skip
    parser.add_argument(
        "--backend", metavar="B", choices=("torch", "openvino"), default="torch",
        help="runs the network on a CPU: torch (default) or openvino",
    )  # fmt: skip
    parser.add_argument(
        "--weights", metavar="FILE", default=os.environ.get("MIREX_WEIGHTS"),
        help="weights to use instead of the shipped ones",
    )  # fmt: skip
    parser.add_argument("--strict", action="store_true", help="fail if any file cannot be decoded")
    parser.add_argument(
        "--time-limit", type=float, default=TIME_LIMIT, metavar="S",
        help=f"seconds per file plus 1/10 of its length ({TIME_LIMIT:.0f}; 0: none)",
    )  # fmt: skip
    parser.add_argument("--rehash", action="store_true", help="read all files again, even unchanged ones")


def extraction_options(args: argparse.Namespace) -> dict[str, Any]:
    """Take the options as keyword arguments of `mirex.extract`.

    Parameters
    ----------
    args : Namespace
        Parsed by a parser of `add_extraction_options`.

    Returns
    -------
    dict
    """
    names = ("threads", "device", "cqt", "backend", "weights", "strict", "rehash", "time_limit")
    return {name: getattr(args, name) for name in names}


def read_object(path: Path | None) -> dict[str, Any] | None:
    """Read the JSON object of a file that an option names.

    Parameters
    ----------
    path : Path or None
        The file; None if the option was not given.

    Returns
    -------
    dict or None
        None without a file.

    Raises
    ------
    UsageError
        If the file cannot be read or has no JSON object.
    """
    from mirex.errors import UsageError
    from mirex.untrusted import parse_json

    if path is None:
        return None
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); name another file") from error
    except ValueError as error:
        raise UsageError(f"{path}: not JSON ({error}); give a JSON object") from error
    if not isinstance(value, dict):
        raise UsageError(f"{path}: {type(value).__name__} instead of a JSON object; give an object")
    return value


def read_calibration(path: Path | None) -> dict[str, Any] | None:
    """Read a file of `mirex calibrate`, as JSON, and check it.

    Parameters
    ----------
    path : Path or None
        The file; None if the option was not given.

    Returns
    -------
    dict or None
        None without a file.

    Raises
    ------
    UsageError
        If the file cannot be read or has no calibration.
    """
    import json

    from mirex.errors import UsageError, WeightsError
    from mirex.retrieval.calibration import METADATA_KEY, from_metadata

    value = read_object(path)
    if value is None:
        return None
    try:
        from_metadata({METADATA_KEY: json.dumps(value)})
    except WeightsError as error:
        reason = repr(error.__cause__)
        raise UsageError(f"{path}: not a calibration ({reason}); make one with 'mirex calibrate'") from error
    return value


def seed(text: str) -> int:
    """Read the seed of random draws, as a type of argparse.

    Parameters
    ----------
    text : str
        The argument.

    Returns
    -------
    int
        0 or more.

    Raises
    ------
    ArgumentTypeError
        Below 0.
    ValueError
        If it is not a number.
    """
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{number}: give 0 or more")
    return number


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


_count.__name__ = "number of 1 or more"  # argparse names the type in its message
