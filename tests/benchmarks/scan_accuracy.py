"""How much of a long recording `mirex scan` names rightly, wrongly, and rightly leaves unnamed.

    PYTHONPATH=. python tests/benchmarks/scan_accuracy.py /path/to/corpus/recordings.npz

Sets are made of the validation recordings, as CQT levels: excerpts of one to three minutes of versions other
than those in the index, transposed by up to three semitones, at 0.9 to 1.1 times the tempo, cross-faded by up
to five seconds; among them recordings that are not in the index, and noise. The index holds one version of
each work and all other recordings. The evidence's constants were chosen on such sets of the same works.
"""

import argparse
import dataclasses
import json
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
    parser.add_argument("--songs", type=int, default=600, help="in the index, at most (600)")
    parser.add_argument("--unknown", type=int, default=20, help="recordings in the set alone (20)")
    parser.add_argument("--most", type=int, default=10**6, help="items in the set, at most")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    generator = np.random.default_rng(args.seed)
    sealed = weights.load(args.weights)
    corpus = LevelCorpus.load(args.corpus, split="validation")
    known, items = _split(corpus, generator, songs=args.songs, unknown=args.unknown)
    columns, truth = _make_set(corpus, items[: args.most], generator)
    second = sealed.front_end.seconds_per_column
    spans = OF_SCANS.spans(columns.shape[1], seconds_per_column=second)
    vectors = embed_spans(columns, spans, sealed=sealed)
    songs = _songs(corpus, known, sealed)
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("windows", "whole songs"):
            index = _index(songs, sealed, Path(folder) / name, windows=name == "windows")
            found = occurrences(vectors, spans * second, index=index)
            results[name] = _shares(found, truth, known=known, second=second)
    _print(results, seconds=columns.shape[1] * sealed.front_end.seconds_per_column, songs=len(known))
    if args.json:
        args.json.write_text(json.dumps(results, indent=2), encoding="utf-8")


def _split(
    corpus: LevelCorpus, generator: np.random.Generator, *, songs: int, unknown: int
) -> tuple[list[int], list[tuple[int, int]]]:
    """Recordings of the index; and items of the set: (what is to be found, recording)."""
    works: dict[int, list[int]] = {}
    for recording in corpus.recordings.tolist():
        works.setdefault(corpus.work(recording), []).append(recording)
    pairs = [versions for versions in works.values() if len(versions) > 1]
    others = generator.permutation(
        [versions[0] for versions in works.values() if len(versions) == 1]
    ).tolist()
    known = [versions[0] for versions in pairs] + others[unknown:]
    items = [(versions[0], int(generator.choice(versions[1:]))) for versions in pairs]
    items += [(UNKNOWN, recording) for recording in others[:unknown]]
    return known[:songs], [items[place] for place in generator.permutation(len(items))]


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


def _index(songs: Songs, sealed: Sealed, path: Path, *, windows: bool) -> Index:
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


def _print(results: dict[str, dict[str, float]], *, seconds: float, songs: int) -> None:
    print(f"{seconds / 60:.0f} minutes, index of {songs} songs\n")
    print("| share of time | " + " | ".join(results) + " |\n|---|" + "---|" * len(results))
    for name in next(iter(results.values())):
        print(f"| {name} | " + " | ".join(f"{values[name]:.3f}" for values in results.values()) + " |")


if __name__ == "__main__":
    main()
