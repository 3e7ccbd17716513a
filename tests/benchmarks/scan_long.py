"""Six hours scanned: seconds, peak memory, and what an interrupted scan has left to do.

    PYTHONPATH=. nice -n 5 python tests/benchmarks/scan_long.py [--hours 6] [--backend openvino]

The recording is a FLAC file of the demo's recordings in random order, with 5 to 40 s of noise between.
`mirex scan` runs on it in a process of its own, with an index of the demo: first killed after `--kill-after`
seconds, then to its end, then once more, when everything is in the scratch folder. The last two must print
the same bytes.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from mirex.demo import demo_folder
from mirex.features.audio import decode
from mirex.retrieval.indexing import index_collection
from mirex.retrieval.windows import OF_SONGS
from mirex.settings import SAMPLE_RATE

CHILD = "import sys; from mirex.cli import main; sys.exit(main(sys.argv[1:]))"


def main() -> None:
    """Make the recording and the index, scan three times, print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--hours", type=float, default=6.0)
    parser.add_argument("--backend", choices=("torch", "openvino"), default="torch")
    parser.add_argument("--kill-after", type=float, default=60.0, metavar="S")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = sorted(map(str, demo_folder().glob("*.ogg")))
        write_recording(folder / "long.flac", paths, seconds=3600 * args.hours)
        options = {"scratch": folder / "s", "layout": OF_SONGS, "backend": args.backend}
        index_collection(paths, output=folder / "index", **options)
        size = (folder / "long.flac").stat().st_size / 2**20
        print(f"{args.hours:g} hours, {size:.0f} MiB of FLAC, index of {len(paths)} songs", flush=True)
        _run(folder, kill_after=args.kill_after)
        outputs = [_run(folder), _run(folder)]
        print("the same bytes" if outputs[0] == outputs[1] else "OTHER BYTES")
        print(f"{len(json.loads(outputs[0])['occurrences'])} occurrences")


def write_recording(path: Path, songs: list[str], *, seconds: float) -> None:
    """A FLAC file of songs in random order and noise, piece by piece.

    Parameters
    ----------
    path : Path
        The file to write.
    songs : list of str
        Audio files.
    seconds : float
        The least length.
    """
    generator = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", samplerate=SAMPLE_RATE, channels=1) as file:
        while file.frames < seconds * SAMPLE_RATE:
            file.write(decode(songs[generator.integers(len(songs))]))
            file.write(0.02 * generator.standard_normal(int(generator.uniform(5, 40) * SAMPLE_RATE)))


def _run(folder: Path, *, kill_after: float | None = None) -> bytes:
    """`mirex scan` as a process; prints time and peak memory, and gives what it printed."""
    started = time.monotonic()
    command = [sys.executable, "-c", CHILD, "scan", folder / "long.flac", "--index", folder / "index"]
    with open(folder / "found.json", "wb") as file:
        process = subprocess.Popen(
            [*map(str, command), "--scratch", str(folder / "s"), "--format", "json"],
            stdout=file, env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    status, anonymous = None, 0
    while status is None:
        time.sleep(0.2)
        anonymous = max(anonymous, _anonymous(process.pid))
        if kill_after is not None and time.monotonic() - started > kill_after:
            os.kill(process.pid, signal.SIGKILL)  # Popen.kill may collect what wait4 is to tell
        pid, ended, usage = os.wait4(process.pid, os.WNOHANG)
        status = os.waitstatus_to_exitcode(ended) if pid else None
    process.returncode = status
    how = {0: "", -9: ", killed"}.get(status, f", exit status {status}")
    memory = f"{anonymous / 1024:.0f} MiB, {usage.ru_maxrss / 1024:.0f} with what is mapped of files"
    print(f"{time.monotonic() - started:.0f} s, {memory}{how}", flush=True)
    return (folder / "found.json").read_bytes()


def _anonymous(pid: int) -> int:
    """KiB that a process holds now, without what is mapped of files, which the system may drop."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("RssAnon:")), 0)


if __name__ == "__main__":
    main()
