"""`mirex corpus`: archives of one's own to train on, from MIDI or audio files."""

import argparse
from pathlib import Path
from typing import Any

from mirex.commands import _count
from mirex.errors import UsageError

TABLE = "CSV with the header work,path; may have split (train or validation) and name (artist - title)"


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "corpus",
        help="archives of one's own to train on",
        description="Make an archive that 'mirex train' reads, from files of your own; "
        "mirex/corpora/FORMATS.md describes them. A file that cannot be read is reported and left out. "
        "Exit status: 0 complete, 1 failed, 2 wrong usage.",
        allow_abbrev=False,
    )
    kinds = parser.add_subparsers(metavar="<kind>", required=True)
    scores = kinds.add_parser("scores", help="from MIDI files", allow_abbrev=False)
    scores.add_argument("folder", type=Path, help="that the paths of the table count from")
    recordings = kinds.add_parser("recordings", help="from audio files, as CQT levels", allow_abbrev=False)
    profiles = kinds.add_parser("profiles", help="from audio files, as pitch classes", allow_abbrev=False)
    for each, kind in ((scores, "scores"), (recordings, "recordings"), (profiles, "profiles")):
        each.add_argument("table", type=Path, help=TABLE)
        each.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="archive, .npz")
        each.set_defaults(run=run, kind=kind)
    for each in (recordings, profiles):
        each.add_argument("--scratch", type=Path, default=Path("scratch"), help="of kept columns (scratch)")
        each.add_argument("--processes", type=_count, default=1, metavar="N", help="of one thread each (1)")


def run(args: argparse.Namespace) -> int:
    """Make the archive."""
    from mirex.corpora import making
    from mirex.logs import ProgressLine

    if args.output.suffix != ".npz" or not args.output.absolute().parent.is_dir():
        raise UsageError(f"output {args.output}: give a name that ends in .npz, in a folder that is there")
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
