"""The campaign: thousands of damaged files, hundreds of kills, and the machine's faults.

    PYTHONPATH=.:tests python -m campaign --files 2000 --kills 300 --readers 2000 --json campaign.json

takes about half an hour on two cores. The network has random weights: what is tested is that a run survives,
not what it finds. Tells how far it is and what it found so far, part by part; Ctrl-C ends it with the figures
so far. Exit status 1 if anything was found, 130 if it was stopped. `--load` measures load instead.
"""

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from campaign.faults import try_faults
from campaign.files import try_files
from campaign.kills import try_kills, try_set_ups
from campaign.load import try_load
from campaign.outcome import Outcome
from campaign.readers import try_readers
from campaign.runs import end_started
from random_network import save_random


def main() -> int:
    """Run what the arguments ask for."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--files", type=int, default=2000, help="damaged files (default 2000)")
    parser.add_argument("--kills", type=int, default=300, help="a tenth of them set-ups (default 300)")
    parser.add_argument("--readers", type=int, default=2000, help="damaged lists, matrices and so on (2000)")
    parser.add_argument("--load", action="store_true", help="10,000 files, their matrix, and six hours")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    parser.add_argument("--folder", type=Path, help="keep everything here (default: a temporary folder)")
    args = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):  # SIGINT is ignored in what a shell starts with &
        signal.signal(number, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        weights = folder / "weights.safetensors"
        save_random(weights)
        if args.load:
            try_load(folder / "load", weights=weights, files=10_000, hours=6)
            return 0
        return campaign(folder, weights, args)


def campaign(folder: Path, weights: Path, args: argparse.Namespace) -> int:
    """Every part in turn; the figures are told, and written, as they come. Returns the exit status."""
    outcome, began, stopped = Outcome(), time.monotonic(), False

    def told(*, done: bool = False) -> None:
        print(f"{time.monotonic() - began:6.0f} s: {outcome.line()}", file=sys.stderr, flush=True)
        if args.json:
            figures = outcome.to_dict() | {"whole": done}
            args.json.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")

    try:
        for name, part in _parts(folder, weights, args, outcome, told).items():
            print(f"{name} ...", file=sys.stderr, flush=True)
            part()
            told()
    except KeyboardInterrupt:
        stopped = True
    finally:
        end_started()
    told(done=not stopped)
    print(json.dumps(outcome.to_dict() | {"whole": not stopped}, indent=1))
    return 130 if stopped else int(bool(outcome.findings))


def _parts(
    folder: Path, weights: Path, args: argparse.Namespace, outcome: Outcome, told: Callable[[], None]
) -> dict[str, Callable[[], None]]:
    asked = {"seed": args.seed, "outcome": outcome}
    of_runs = {**asked, "weights": weights}
    set_ups = args.kills // 10
    return {
        "readers": lambda: try_readers(folder / "readers", count=args.readers, told=told, **asked),
        "files": lambda: try_files(folder / "files", count=args.files, told=told, **of_runs),
        "faults": lambda: try_faults(folder / "faults", **of_runs),
        "set-ups": lambda: try_set_ups(folder / "set-ups", count=set_ups, **asked),
        "kills": lambda: try_kills(folder / "kills", count=args.kills - set_ups, told=told, **of_runs),
    }


if __name__ == "__main__":
    sys.exit(main())
