"""One module per command of the command line; each has `add_parser` and `run`.

Here: what commands that extract have in common.
"""

import argparse
import logging
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mirex.extraction.pool import TIME_LIMIT

if TYPE_CHECKING:
    from mirex.formats.filelist import FileList

log = logging.getLogger(__name__)

MOST_DEFAULT_THREADS = 16  # each worker takes some 500 MB


def program(command: str) -> str:
    """How the command was called: `mirex <command>`, or the script that called it."""
    return os.environ.get("MIREX_PROGRAM") or f"mirex {command}"


def add_extraction_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mirex.extract`."""
    threads = min(len(os.sched_getaffinity(0)), MOST_DEFAULT_THREADS)
    parser.add_argument(
        "-numThreads", "--num-threads", dest="threads", type=_count, default=threads, metavar="N",
        help=f"worker processes, of one thread each (default {threads})",
    )  # fmt: skip
    # With names of their own, which the help shows, not the choices: it must fit a screen.
    parser.add_argument(
        "--device", metavar="D", choices=("auto", "cpu", "cuda"), default="auto",
        help="of the network: cpu, cuda or auto (default auto)",
    )  # fmt: skip
    parser.add_argument(
        "--cqt", metavar="C", choices=("multirate", "essentia"), default="multirate",
        help="transform: multirate or essentia",
    )  # fmt: skip
    parser.add_argument(
        "--backend", metavar="B", choices=("torch", "openvino"), default="torch",
        help="of the network on a CPU: torch or openvino",
    )  # fmt: skip
    parser.add_argument(
        "--weights", metavar="FILE", default=os.environ.get("MIREX_WEIGHTS"), help="instead of the shipped"
    )
    parser.add_argument("--strict", action="store_true", help="an undecodable file is an error")
    parser.add_argument(
        "--time-limit", type=float, default=TIME_LIMIT, metavar="S",
        help=f"seconds a file, plus 1/10 of its length (default {TIME_LIMIT:.0f})",
    )  # fmt: skip
    parser.add_argument("--rehash", action="store_true", help="read files again that seem unchanged")


def read_lists(*paths: str) -> "list[FileList]":
    """Read list files; what was skipped is warned of."""
    from mirex.formats.filelist import read_list

    lists = [read_list(path) for path in paths]
    for path, found in zip(paths, lists, strict=True):
        if found.skipped:
            log.warning("%s: %d lines that name no file (#EXT..., Ctrl-Z) are skipped", path, found.skipped)
    return lists


def require_any(paths: Sequence[str], failures: Mapping[int, str]) -> None:
    """Raise an error if no file of a list could be analysed: then it is no list of files."""
    from mirex.errors import MirexError
    from mirex.formats.filelist import likely_form

    if not paths or len(failures) < len(paths):
        return
    index, reason = min(failures.items())
    form = likely_form(paths)
    hint = f"; {form}" if form else ""
    raise MirexError(f"none of the {len(paths)} files can be used, first {paths[index]!r}: {reason}{hint}")


def extraction_options(args: argparse.Namespace) -> dict[str, Any]:
    """The options as keyword arguments of `mirex.extract`."""
    names = ("threads", "device", "cqt", "backend", "weights", "strict", "rehash", "time_limit")
    return {name: getattr(args, name) for name in names}


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


_count.__name__ = "number of 1 or more"  # argparse names the type in its message
