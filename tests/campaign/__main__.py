"""The campaign: thousands of damaged files, hundreds of kills, and the machine's faults.

    PYTHONPATH=.:tests python -m campaign --files 2000 --kills 300 --json campaign.json

takes about an hour on two cores. The network has random weights: what is tested is that a run survives, not
what it finds. Prints the figures and every finding; exit status 1 if there is one.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from campaign.faults import try_faults
from campaign.files import try_files
from campaign.kills import try_kills, try_set_ups
from campaign.outcome import Outcome
from random_network import save_random


def main() -> int:
    """Run what the arguments ask for."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--files", type=int, default=2000, help="damaged files (default 2000)")
    parser.add_argument("--kills", type=int, default=300, help="a tenth of them set-ups (default 300)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    parser.add_argument("--folder", type=Path, help="keep everything here (default: a temporary folder)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        outcome = campaign(args.folder or Path(temporary), files=args.files, kills=args.kills, seed=args.seed)
    text = json.dumps(outcome.to_dict(), indent=1)
    print(text)
    if args.json:
        args.json.write_text(text + "\n", "utf-8")
    return bool(outcome.findings)


def campaign(folder: Path, *, files: int, kills: int, seed: int) -> Outcome:
    """Everything, in a folder; tells on stderr how far it is."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / "weights.safetensors"
    save_random(weights)
    outcome, began = Outcome(), time.monotonic()
    try_files(folder / "files", weights=weights, count=files, seed=seed, outcome=outcome)
    print(f"files done after {time.monotonic() - began:.0f} s", file=sys.stderr)
    try_set_ups(folder / "set-ups", count=kills // 10, seed=seed, outcome=outcome)
    try_kills(folder / "kills", weights=weights, count=kills - kills // 10, seed=seed, outcome=outcome)
    print(f"kills done after {time.monotonic() - began:.0f} s", file=sys.stderr)
    try_faults(folder / "faults", weights=weights, seed=seed, outcome=outcome)
    return outcome


if __name__ == "__main__":
    sys.exit(main())
