"""`mirex patches`: note patches of a SoundFont, for rendering scores in training."""

import argparse
from pathlib import Path
from typing import Any


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "patches",
        help="make note patches of a SoundFont, for training",
        description="Play every note of every General MIDI program of a SoundFont through FluidSynth and the "
        "front end, and save the CQT of each (takes some minutes). Exit status: 0 complete, 1 failed.",
        allow_abbrev=False,
    )
    parser.add_argument("soundfont", type=Path, help="an SF2 or SF3 file")
    parser.add_argument("output", type=Path, help="the patch file to write, .npz")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Make and save the patches."""
    from mirex.extras import need

    need(("mido",), extra="train")
    import torch

    from mirex.errors import UsageError
    from mirex.logs import ProgressLine
    from mirex.training.synthesis.patches import make_patches, save_patches

    if not args.output.absolute().parent.is_dir():
        raise UsageError(f"{args.output}: the folder does not exist; create it or name another")
    # Next to a busy process, two threads that wait for each other take ten times as long as one.
    torch.set_num_threads(1)
    with ProgressLine(unit="program") as progress:
        levels = make_patches(args.soundfont, progress=progress)
    save_patches(levels, path=args.output)
    print(f"patches of {args.soundfont} in {args.output}")
    return 0
