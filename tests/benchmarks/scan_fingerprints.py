"""`mirex scan` beside a fingerprinting library that a user might pick instead, on the same long recordings.

    pip install audfprint2==0.1.2
    PYTHONPATH=. python tests/benchmarks/scan_fingerprints.py /path/to/scores.npz --soundfont FILE.sf2

The library is audfprint2, D. Ellis's landmark fingerprints (A. Wang, "An industrial-strength audio search
algorithm", ISMIR 2003), as it comes: 15 s of the set are looked up every 5 s, and what it finds names the 5 s
in their middle. The index holds a rendering of one version of each of the first validation works of the
scores, and the demo. A set plays 75 s of each, changed in one way, among as much of works that are not in the
index; with cross-fades, and noise between.

Measured with OPL-3_FM_128M.sf2, which training has not heard, and --backend openvino; index of 24 songs.
Shares of the time: of works in the index, named rightly and wrongly; of the rest, rightly left unnamed.

| what plays | scan: right | wrong | unnamed | audfprint2: right | wrong | unnamed |
|---|---|---|---|---|---|---|
| the same recording | 0.937 | 0.024 | 0.628 | 0.969 | 0.011 | 0.872 |
| ... with noise, 10 dB below | 0.901 | 0.019 | 0.759 | 0.612 | 0.013 | 0.952 |
| ... two semitones higher | 0.927 | 0.025 | 0.707 | 0.095 | 0.003 | 0.990 |
| ... 8 % faster | 0.921 | 0.017 | 0.729 | 0.136 | 0.000 | 0.981 |
| another version | 0.919 | 0.033 | 0.772 | 0.265 | 0.002 | 0.981 |
"""

import argparse
import importlib.util
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
from numpy.typing import NDArray

from mirex._typing import Samples
from mirex.benchmarks.robustness import add_noise, change_tempo, transpose
from mirex.benchmarks.testsets import score_notes, several_versions
from mirex.corpora.fluidsynth import synthesise
from mirex.corpora.scores import ScoreCorpus
from mirex.demo import VARIANT, demo_folder
from mirex.features.audio import decode
from mirex.retrieval.indexing import index_collection
from mirex.retrieval.scan import scan
from mirex.retrieval.windows import OF_SONGS
from mirex.settings import SAMPLE_RATE

NOTHING = -1
EXCERPT = 75.0  # seconds
FADE = 5.0
WINDOW, HOP = 15.0, 5.0  # of what is looked up among fingerprints
LIBRARY = "audfprint2"
ANOTHER = "another version"


class Work(NamedTuple):
    """What is in the index, and another version of it, if there is one."""

    indexed: Samples
    other: Samples | None


def reason_to_skip() -> str:
    """Why this cannot be measured here, or ""."""
    if importlib.util.find_spec(LIBRARY) is None:
        return f"{LIBRARY} is not installed: pip install audfprint2==0.1.2"
    return "" if shutil.which("fluidsynth") else "fluidsynth is not installed"


def main() -> None:
    """Make recordings and sets, scan them with both, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("scores", type=Path, help="scores.npz")
    parser.add_argument("--soundfont", type=Path, required=True)
    parser.add_argument("--works", type=int, default=16, help="of the scores, in the index (16)")
    parser.add_argument("--unknown", type=int, default=8, help="that are in the sets alone (8)")
    parser.add_argument("--backend", choices=("torch", "openvino"), default="torch")
    args = parser.parse_args()
    if reason := reason_to_skip():
        print(f"skipped: {reason}", file=sys.stderr)
        return
    works, unknown = _works(args.scores, args.soundfont, works=args.works, unknown=args.unknown)
    with tempfile.TemporaryDirectory() as folder:
        systems = {
            "mirex scan": _scanner([each.indexed for each in works], Path(folder), backend=args.backend),
            LIBRARY: _fingerprints([each.indexed for each in works]),
        }
        print(f"index of {len(works)} songs; sets of {EXCERPT:.0f} s of each\n")
        print("| what plays | system | named rightly | named wrongly | rest rightly unnamed |")
        print("|---|---|---|---|---|")
        for kind, change in _changes().items():
            samples, truth = _make_set(works, unknown, change, np.random.default_rng(7))
            for name, system in systems.items():
                right, wrong, unnamed = _shares(system(samples, len(truth)), truth)
                print(f"| {kind} | {name} | {right:.3f} | {wrong:.3f} | {unnamed:.3f} |", flush=True)


def _works(scores: Path, soundfont: Path, *, works: int, unknown: int) -> tuple[list[Work], list[Samples]]:
    corpus = ScoreCorpus.load(scores, split="validation")
    versions = several_versions(corpus)[: works + unknown]

    def play(song: int) -> Samples:
        return synthesise(score_notes(corpus.score(song), semitones=0), soundfont=soundfont)

    known = [Work(play(int(songs[0])), play(int(songs[1]))) for songs in versions[:works]]
    for path in sorted(demo_folder().glob("*.ogg")):
        if VARIANT not in path.stem:
            other = path.with_stem(path.stem + VARIANT)
            known.append(Work(decode(path), decode(other) if other.exists() else None))
    return known, [play(int(songs[0])) for songs in versions[works:]]


def _changes() -> dict[str, Callable[[Work, np.random.Generator], Samples | None]]:
    """Kinds of sets: what becomes of an excerpt; None: the work is not in the set."""
    return {
        "the same recording": lambda work, generator: _excerpt(work.indexed, generator),
        "... with noise, 10 dB below": lambda work, generator: add_noise(
            _excerpt(work.indexed, generator), decibels=10, generator=generator
        ),
        "... two semitones higher": lambda work, generator: transpose(
            _excerpt(work.indexed, generator), semitones=2
        ),
        "... 8 % faster": lambda work, generator: change_tempo(
            _excerpt(work.indexed, generator), factor=1.08
        ),
        ANOTHER: lambda work, generator: None if work.other is None else _excerpt(work.other, generator),
    }


def _excerpt(samples: Samples, generator: np.random.Generator) -> Samples:
    length = min(len(samples), round(EXCERPT * SAMPLE_RATE))
    start = int(generator.integers(0, len(samples) - length + 1))
    return samples[start : start + length]


def _make_set(
    works: Sequence[Work],
    unknown: Sequence[Samples],
    change: Callable[[Work, np.random.Generator], Samples | None],
    generator: np.random.Generator,
) -> tuple[Samples, NDArray[np.int64]]:
    """A long recording, and what plays in each second."""
    changed = [(number, change(work, generator)) for number, work in enumerate(works)]
    items = [(number, samples) for number, samples in changed if samples is not None]
    items += [(NOTHING, _excerpt(samples, generator)) for samples in unknown]
    parts: list[Samples] = []
    truth: list[int] = []
    for place in generator.permutation(len(items)):
        number, samples = items[place]
        samples = samples * np.float32(0.1 / max(1e-6, float(np.sqrt(np.mean(samples**2)))))
        fade = round(generator.uniform(0, FADE) * SAMPLE_RATE)
        if parts and fade:
            ramp = np.linspace(0, 1, fade, dtype=np.float32)
            parts[-1][-fade:] = parts[-1][-fade:] * (1 - ramp) + samples[:fade] * ramp
            samples = samples[fade:]
        parts.append(samples.copy())
        truth += [number] * (round(sum(map(len, parts)) / SAMPLE_RATE) - len(truth))
        if generator.random() < 0.3:
            noise = generator.standard_normal(round(generator.uniform(5, 40) * SAMPLE_RATE))
            parts.append((0.02 * noise).astype(np.float32))
            truth += [NOTHING] * (round(sum(map(len, parts)) / SAMPLE_RATE) - len(truth))
    return np.concatenate(parts), np.array(truth)


System = Callable[[Samples, int], NDArray[np.int64]]
"""From a recording and its length in seconds to the song that it names in each second."""


def _scanner(songs: Sequence[Samples], folder: Path, *, backend: str) -> System:
    paths = [str(folder / f"{number}.flac") for number in range(len(songs))]
    for path, samples in zip(paths, songs, strict=True):
        soundfile.write(path, samples, SAMPLE_RATE)
    made = index_collection(
        paths, output=folder / "index", scratch=folder / "s", layout=OF_SONGS, backend=backend
    )

    def run(samples: Samples, seconds: int) -> NDArray[np.int64]:
        soundfile.write(folder / "set.flac", samples, SAMPLE_RATE)
        named = np.full(seconds, NOTHING)
        for each in scan(str(folder / "set.flac"), index=made.index).occurrences:
            named[round(each.start) : round(each.end)] = int(Path(each.song).stem)
        return named

    return run


def _fingerprints(songs: Sequence[Samples]) -> System:
    from audfprint2.core.analyzer import Analyzer, landmarks2hashes  # type: ignore[import-not-found]
    from audfprint2.core.hash_table import HashTable  # type: ignore[import-not-found]
    from audfprint2.core.matcher import Matcher  # type: ignore[import-not-found]

    analyzer, table, matcher = Analyzer(), HashTable(), Matcher()

    def hashes(samples: Samples) -> Any:
        import soxr

        rate = analyzer.target_sr
        peaks = analyzer.find_peaks(soxr.resample(samples, SAMPLE_RATE, rate), rate)
        return landmarks2hashes(analyzer.peaks2landmarks(peaks))

    for number, samples in enumerate(songs):
        table.store(str(number), hashes(samples))

    def run(samples: Samples, seconds: int) -> NDArray[np.int64]:
        named, found = np.full(seconds, NOTHING), hashes(samples)
        times = found[:, 0] * analyzer.n_hop / analyzer.target_sr
        for start in np.arange(0, seconds, HOP):
            middle = start + HOP / 2
            part = found[np.abs(times - middle) <= WINDOW / 2]
            results = matcher.match_hashes(table, part) if len(part) else []
            if len(results):
                named[int(start) : int(start + HOP)] = int(table.names[int(results[0][0])])
        return named

    return run


def _shares(named: NDArray[np.int64], truth: NDArray[np.int64]) -> tuple[float, float, float]:
    """Of the time of known songs: named rightly, wrongly; of the rest: rightly left unnamed."""
    known = truth != NOTHING
    wrong = (named != NOTHING) & (named != truth)
    return (
        float((named == truth)[known].mean()),
        float(wrong[known].mean()),
        float((named == NOTHING)[~known].mean()),
    )


if __name__ == "__main__":
    main()
