"""Six hours as FLAC, M4A and WMA: seconds and peak memory of the run and of its worker.

    PYTHONPATH=.:tests python tests/benchmarks/long_recordings.py [--hours 6] [--folder FOLDER]

libsndfile reads FLAC piece by piece. M4A and WMA are decoded by FFmpeg into a temporary file in the scratch
folder, of 318 MB per hour. The recordings are made by code, with copies of the same packets. Then each is
extracted by `mirex extract`, one after the other; the weights are random, which costs what real ones cost.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np

from campaign.load import long_file, measured
from random_network import save_random
from synthesis import encode, song

RATE = 44_100
SONGS, SECONDS = 10, 60


def main() -> None:
    """Make the recordings, extract each, and print what it took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hours", type=float, default=6.0)
    parser.add_argument("--folder", help="where the files are made: 2.7 GB for six hours (default: TMPDIR)")
    args = parser.parse_args()
    makers: dict[str, Callable[[Path], object]] = {
        "flac": lambda path: long_file(path, hours=args.hours),
        "m4a": lambda path: looped(path, hours=args.hours, codec="aac", container="mp4"),
        "wma": lambda path: looped(path, hours=args.hours, codec="wmav2", container="asf"),
    }
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        save_random(folder / "weights.safetensors")
        options = ["--weights", folder / "weights.safetensors", "--device", "cpu", "-numThreads", "1"]
        for ending, make in makers.items():
            path = folder / f"long.{ending}"
            make(path)
            (folder / "list.txt").write_text(f"{path}\n", "utf-8")
            words = ["-m", "mirex", "extract", *options, folder / "scratch", folder / "list.txt"]
            command = [sys.executable, "-P", *map(str, words)]
            size = path.stat().st_size / 2**20
            step = f"{args.hours:g} h of {ending}, {size:.0f} MiB"
            print(measured(step, command, log=folder / "log.txt"), flush=True)
            path.unlink()


def looped(path: Path, *, hours: float, codec: str, container: str) -> None:
    """A stereo file whose packets are copies of those of ten minutes.

    Parameters
    ----------
    path : Path
        The file to write.
    hours : float
        Its length.
    codec, container : str
        FFmpeg's names.
    """
    music = np.concatenate([song(number, seconds=SECONDS, rate=RATE) for number in range(SONGS)])
    part = path.with_suffix(".part")
    stereo = np.stack([music, 0.8 * music], 1).astype(np.float32)
    encode(part, stereo, codec=codec, container=container, rate=RATE, bit_rate=128_000)
    with av.open(str(path), "w", format=container) as output:
        stream = None
        for number in range(round(hours * 3600 / (SONGS * SECONDS))):
            with av.open(str(part)) as source:
                stream = stream or output.add_stream_from_template(source.streams.audio[0])
                for packet in source.demux(source.streams.audio[0]):
                    if packet.dts is None:
                        continue
                    later = round(number * SONGS * SECONDS / packet.time_base)
                    packet.pts, packet.dts, packet.stream = packet.dts + later, packet.dts + later, stream
                    output.mux(packet)
    part.unlink()


if __name__ == "__main__":
    main()
