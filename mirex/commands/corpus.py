"""`mirex corpus`: training archives from the user's own MIDI or audio files."""

import argparse
from pathlib import Path
from typing import Any

from mirex.commands import _count
from mirex.errors import UsageError

TABLE = "CSV with the header work,path; optional columns: split (train or validation), name (artist - title)"


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "corpus",
        help="make training archives from your own files",
        description="Make an archive for 'mirex train' from your own files; mirex/corpora/FORMATS.md "
        "describes the formats. In archives of one kind that are used together, works of the same name (or "
        "number) are one work. A file that cannot be read is reported and left out. Exit status: 0 complete, "
        "1 failed, 2 usage error.",
        allow_abbrev=False,
    )
    kinds = parser.add_subparsers(metavar="<kind>", required=True)
    scores = kinds.add_parser("scores", help="from MIDI files", allow_abbrev=False)
    scores.add_argument("folder", type=Path, help="folder that the paths in the table are relative to")
    recordings = kinds.add_parser("recordings", help="from audio files, as CQT levels", allow_abbrev=False)
    profiles = kinds.add_parser("profiles", help="from audio files, as pitch classes", allow_abbrev=False)
    for each, kind in ((scores, "scores"), (recordings, "recordings"), (profiles, "profiles")):
        each.add_argument("table", type=Path, help=TABLE)
        each.add_argument(
            "-o", "--output", type=Path, required=True, metavar="FILE", help="archive to write, .npz"
        )
        each.set_defaults(run=run, kind=kind)
    for each in (recordings, profiles):
        each.add_argument(
            "--scratch", type=Path, default=Path("scratch"), help="folder that keeps columns (scratch)"
        )
        each.add_argument(
            "--processes", type=_count, default=1, metavar="N", help="worker processes, one thread each (1)"
        )


def run(args: argparse.Namespace) -> int:
    """Make the archive."""
    from mirex.corpora import making
    from mirex.logs import ProgressLine

    if args.output.suffix != ".npz" or not args.output.absolute().parent.is_dir():
        raise UsageError(f"output {args.output}: give a name ending in .npz, in an existing folder")
    versions = making.read_versions(args.table, folder=args.folder if args.kind == "scores" else None)
    if args.kind == "scores":
        with ProgressLine() as progress:
            count = making.make_scores(versions, path=args.output, report=_say, progress=progress)
    else:
        make = making.make_recordings if args.kind == "recordings" else making.make_profiles
        count = make(versions, path=args.output, scratch=args.scratch, processes=args.processes, report=_say)
    _say(f"{count} of {len(versions.paths)} files, {len(set(versions.works))} works, in {args.output}")
    return 0


def _say(line: str) -> None:
    print(line, flush=True)
