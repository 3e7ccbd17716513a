"""`mirex scan`: the songs of a collection that occur in a long recording."""

import argparse
import contextlib
import os
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mirex.commands import add_extraction_options, extraction_options

if TYPE_CHECKING:
    from mirex.logs import ProgressLine
    from mirex.retrieval.index import Index

FORMATS = ("text", "csv", "json", "cue", "labels")


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the command to the argument tree."""
    parser = subparsers.add_parser(
        "scan",
        help="find the songs in a long recording, with times",
        description="Find the songs of a collection, including covers, in a live set, a broadcast or another "
        "long recording. Songs that play for less than a minute are hard to find, and times are accurate to "
        "about 15 s. With --scratch, an interrupted scan can be resumed. With --index, --cqt and --backend "
        "default to those of the index, and -numThreads, --time-limit, --strict and --rehash have no effect. "
        "Exit status: 0 complete, 1 failed, 2 usage error.",
        allow_abbrev=False,
    )
    parser.add_argument("recording", help="an audio file of any length")
    collection = parser.add_mutually_exclusive_group(required=True)
    collection.add_argument(
        "--index", metavar="FILE", help="index made by 'mirex index', preferably with --windows"
    )
    collection.add_argument("--collection", metavar="LIST", help="one path per line; needs --scratch")
    parser.add_argument("--scratch", metavar="FOLDER", help="folder that keeps results for reuse")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="text",
        help="output format; labels: a label track for Audacity (default text)",
    )
    parser.add_argument("--html", metavar="PAGE", help="also write a page with a timeline")
    parser.add_argument(
        "--at-least",
        type=float,
        default=0.5,
        metavar="P",
        help="minimum confidence of a song, 0 to 1 (0.5)",
    )
    add_extraction_options(parser)
    parser.set_defaults(run=run, cqt=None, backend=None)


def run(args: argparse.Namespace) -> int:
    """Scan, print, write the page."""
    from mirex.errors import UsageError
    from mirex.retrieval import tracklist
    from mirex.retrieval.scan import scan
    from mirex.retrieval.scan_page import write_page

    if args.collection and args.scratch is None:
        raise UsageError("--collection needs --scratch, the folder where 'mirex extract' keeps embeddings")
    options = extraction_options(args)
    chosen = {name: options[name] for name in ("weights", "device", "cqt", "backend")}
    with _index(args) as index:
        progress = _Phases(args.recording)
        with contextlib.closing(progress):
            found = scan(
                args.recording,
                index=index,
                scratch=args.scratch,
                at_least=args.at_least,
                progress=progress,
                **chosen,
            )
    formats = (tracklist.text, tracklist.as_csv, tracklist.as_json, tracklist.as_cue, tracklist.as_labels)
    print(dict(zip(FORMATS, formats, strict=True))[args.format](found))
    if args.html:
        write_page(found, path=args.html)
    return 0


@contextlib.contextmanager
def _index(args: argparse.Namespace) -> "Iterator[Index]":
    """The index given, or a temporary one of the list."""
    from mirex.retrieval.index import Index

    if args.index:
        yield Index(args.index)
        return
    from mirex.formats.filelist import locate, read_list
    from mirex.logs import ProgressLine
    from mirex.retrieval.indexing import index_collection
    from mirex.retrieval.windows import OF_SONGS

    paths = read_list(args.collection).paths
    options = extraction_options(args)
    options |= {"cqt": args.cqt or "multirate", "backend": args.backend or "torch"}
    with tempfile.TemporaryDirectory(prefix="mirex-") as folder, ProgressLine() as progress:
        made = index_collection(
            paths,
            output=os.path.join(folder, "songs.mirex"),
            scratch=args.scratch,
            layout=OF_SONGS,
            locations=locate(paths, list_file=args.collection),
            progress=progress,
            **options,
        )
        yield made.index


class _Phases:
    """A progress line for each phase of a scan: a new one begins when a count starts at 0."""

    def __init__(self, recording: str) -> None:
        self._recording = recording
        self._line: ProgressLine | None = None

    def __call__(self, done: int, total: int) -> None:
        from mirex.logs import ProgressLine

        if self._line is None or done == 0:
            self.close()
            decoding = total == os.path.getsize(self._recording)
            self._line = ProgressLine(unit="byte" if decoding else "window")
        self._line(done, total)

    def close(self) -> None:
        if self._line is not None:
            self._line.__exit__()
            self._line = None
