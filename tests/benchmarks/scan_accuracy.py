"""How much of a long recording `mirex scan` names rightly, wrongly, and rightly leaves unnamed.

    PYTHONPATH=. python tests/benchmarks/scan_accuracy.py /path/to/corpus/recordings.npz

Sets are made of the validation recordings, as CQT levels: excerpts of one to three minutes of versions other
than those in the index, transposed by up to three semitones, at 0.9 to 1.1 times the tempo, cross-faded by up
to five seconds; among them recordings that are not in the index, and noise. The index holds one version of
each work and all other recordings, but those whose title says that they are a version of one of the works.

The works are parted in two halves. The evidence's constants were chosen on sets of the tuning half; what is
measured, unless asked otherwise, is the other one. The two have the index's other recordings in common. A few
errors are much of a figure: each half has 29 works.
"""

import argparse
import dataclasses
import json
import re
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mirex._typing import Columns
from mirex.corpora.cqt_levels import LevelCorpus
from mirex.model import weights
from mirex.model.embedding import embed
from mirex.model.weights import Sealed
from mirex.retrieval.index import Index, Songs
from mirex.retrieval.scan import Occurrence, occurrences
from mirex.retrieval.windows import OF_SCANS, OF_SONGS, embed_spans

UNKNOWN, NOISE = -1, -2


def main() -> None:
    """Make sets, scan them, print a table and, where wanted, JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("corpus", type=Path, help="recordings.npz")
    parser.add_argument("--weights", type=Path, help="instead of the shipped")
    parser.add_argument("--half", choices=("tuning", "other"), default="other", help="of the works (other)")
    parser.add_argument("--unknown", type=int, default=10, help="recordings in a set alone (10)")
    parser.add_argument("--sets", type=int, default=2, help="drawn anew from the same recordings (2)")
    parser.add_argument("--backend", choices=("torch", "openvino"), default="torch")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    sealed = weights.load(args.weights, backend=args.backend)
    corpus = LevelCorpus.load(args.corpus, split="validation")
    known, halves = _split(corpus, unknown=args.unknown)
    works, unknown = halves[("tuning", "other").index(args.half)]
    songs = _songs(corpus, known, sealed)
    results: dict[str, list[dict[str, float]]] = {"windows": [], "whole songs": []}
    seconds = 0.0
    with tempfile.TemporaryDirectory() as folder:
        indexes = {name: _index(songs, sealed, Path(folder) / name, name == "windows") for name in results}
        for number in range(args.sets):
            generator = np.random.default_rng([args.half == "other", number])
            columns, truth = _make_set(corpus, _items(works, unknown, generator), generator)
            seconds += columns.shape[1] * sealed.front_end.seconds_per_column
            for name, shares in _scanned(columns, truth, indexes, known=known, sealed=sealed).items():
                results[name].append(shares)
    means = {name: {key: float(np.mean([one[key] for one in sets])) for key in sets[0]}
             for name, sets in results.items()}  # fmt: skip
    _print(means, seconds=seconds, songs=len(known), sets=args.sets, half=args.half)
    if args.json:
        args.json.write_text(json.dumps({"mean": means, "sets": results}, indent=2), encoding="utf-8")


def _split(corpus: LevelCorpus, *, unknown: int) -> tuple[list[int], list[tuple[list[list[int]], list[int]]]]:
    """Recordings of the index; and of each half the works of more than one version, and recordings that are
    not in the index."""
    works: dict[int, list[int]] = {}
    for recording in corpus.recordings.tolist():
        works.setdefault(corpus.work(recording), []).append(recording)
    generator = np.random.default_rng(2026)
    pairs = [versions for versions in works.values() if len(versions) > 1]
    pairs = [pairs[place] for place in generator.permutation(len(pairs))]
    others = generator.permutation(
        [versions[0] for versions in works.values() if len(versions) == 1]
    ).tolist()
    halves = [(pairs[half::2], others[half * unknown : (half + 1) * unknown]) for half in (0, 1)]
    titles = [_words(corpus.names[recording]) for versions in pairs for recording in versions]
    kept = [
        each
        for each in others[2 * unknown :]
        if not any(len(title) > 1 and title <= _words(corpus.names[each]) for title in titles)
    ]
    return [versions[0] for versions in pairs] + kept, halves


def _words(name: str) -> set[str]:
    """Of a title."""
    return set(re.findall(r"\w+", name.split(" - ", 1)[-1].lower()))


def _items(
    works: list[list[int]], unknown: list[int], generator: np.random.Generator
) -> list[tuple[int, int]]:
    """What a set is made of, in its order: (what is to be found, recording)."""
    items = [(versions[0], int(generator.choice(versions[1:]))) for versions in works]
    items += [(UNKNOWN, recording) for recording in unknown]
    return [items[place] for place in generator.permutation(len(items))]


def _scanned(
    columns: Columns, truth: NDArray[np.int64], indexes: dict[str, Index], *, known: list[int], sealed: Sealed
) -> dict[str, dict[str, float]]:
    """Shares of a set's time, by each index."""
    second = sealed.front_end.seconds_per_column
    spans = OF_SCANS.spans(columns.shape[1], seconds_per_column=second)
    vectors = embed_spans(columns, spans, sealed=sealed)
    hop = OF_SCANS.step(seconds_per_column=second) * second
    return {
        name: _shares(
            occurrences(vectors, spans * second, index=index, hop=hop), truth, known=known, second=second
        )
        for name, index in indexes.items()
    }


def _make_set(
    corpus: LevelCorpus, items: list[tuple[int, int]], generator: np.random.Generator
) -> tuple[Columns, NDArray[np.int64]]:
    """Columns, and what plays in each."""
    second = 0.4644
    parts: list[np.ndarray] = []
    truth: list[int] = []
    for wanted, recording in items:
        columns = _changed(corpus.columns(recording, generator=generator), generator, second)
        fade = min(int(generator.integers(0, int(5 / second))), columns.shape[1] // 2)
        if parts and fade:
            fade = min(fade, parts[-1].shape[1])
            ramp = np.linspace(0, 1, fade)
            parts[-1][:, -fade:] = np.hypot(parts[-1][:, -fade:] * (1 - ramp), columns[:, :fade] * ramp)
            columns = columns[:, fade:]
        parts.append(columns)
        truth += [wanted] * columns.shape[1]
        if generator.random() < 0.3:
            length = int(generator.uniform(5, 40) / second)
            slope = np.linspace(0.04, 0.004, 84)[:, None]
            parts.append(np.abs(generator.standard_normal((84, length))) * slope)
            truth += [NOISE] * length
    return np.concatenate(parts, axis=1).astype(np.float32), np.array(truth)


def _changed(columns: Columns, generator: np.random.Generator, second: float) -> np.ndarray:
    """An excerpt in another key, at another tempo and level."""
    length = min(columns.shape[1], int(generator.uniform(60, 180) / second))
    start = int(generator.integers(0, columns.shape[1] - length + 1))
    shift, tempo = int(generator.integers(-3, 4)), generator.uniform(0.9, 1.1)
    moved = np.roll(columns[:, start : start + length], shift, axis=0)
    moved[: max(shift, 0)] = 0
    moved[84 + min(shift, 0) :] = 0
    times = np.arange(int((length - 1) / tempo)) * tempo
    before = times.astype(int)
    share = times - before
    moved = moved[:, before] * (1 - share) + moved[:, before + 1] * share
    return moved / np.percentile(moved.max(axis=0), 95) * generator.uniform(0.3, 1)


def _songs(corpus: LevelCorpus, known: list[int], sealed: Sealed) -> Songs:
    wholes, parts, second = [], [], sealed.front_end.seconds_per_column
    for recording in known:
        columns = corpus.columns(recording, generator=np.random.default_rng(recording))
        spans = OF_SONGS.spans(columns.shape[1], seconds_per_column=second)
        wholes.append(embed([columns], sealed=sealed)[0])
        parts.append((embed_spans(columns, spans, sealed=sealed), spans * second))
    return Songs([str(n) for n in known], [f"{n:064x}" for n in known], np.stack(wholes), parts)


def _index(songs: Songs, sealed: Sealed, path: Path, windows: bool) -> Index:
    marks = {"front_end": sealed.front_end.fingerprint(), "cqt": "multirate", "weights": sealed.fingerprint}
    if windows:
        return Index.create(path, songs, fingerprints=marks, window_layout=str(OF_SONGS))
    return Index.create(path, dataclasses.replace(songs, windows=None), fingerprints=marks)


def _shares(
    found: list[Occurrence], truth: NDArray[np.int64], *, known: list[int], second: float
) -> dict[str, float]:
    """Shares of the time; occurrences below a confidence of 0.5 are not named."""
    named, sure = np.full(len(truth), UNKNOWN), np.zeros(len(truth))
    for each in found:
        if each.confidence >= 0.5:
            part = slice(round(each.start / second), round(each.end / second))
            named[part], sure[part] = int(each.song), each.confidence
    inside = np.isin(truth, known)
    said = named >= 0
    return {
        "known time named rightly": float((named == truth)[inside].mean()),
        "known time named wrongly": float((said & (named != truth))[inside].mean()),
        "known time left unnamed": float((~said)[inside].mean()),
        "unknown time rightly left unnamed": float((~said)[~inside].mean()),
        "of named time, right": float((named == truth)[said].mean()) if said.any() else float("nan"),
        "mean confidence of named time": float(sure[said].mean()) if said.any() else float("nan"),
    }


def _print(results: dict[str, dict[str, float]], *, seconds: float, songs: int, sets: int, half: str) -> None:
    print(f"{sets} sets of the {half} half, {seconds / 60:.0f} minutes, index of {songs} songs\n")
    print("| share of time | " + " | ".join(results) + " |\n|---|" + "---|" * len(results))
    for name in next(iter(results.values())):
        print(f"| {name} | " + " | ".join(f"{values[name]:.3f}" for values in results.values()) + " |")


if __name__ == "__main__":
    main()
