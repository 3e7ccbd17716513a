"""`mirex benchmark-accuracy`: our figures on a test set, beside what a user could pick instead."""

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mirex.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from mirex.benchmarks.accuracy import AnyClip
    from mirex.benchmarks.baselines import System
    from mirex.benchmarks.testsets import Recording
    from mirex.logs import ProgressLine
    from mirex.model.weights import Sealed
    from mirex.settings import FrontEndSettings

SETS = ("scores", "anthems", "covers", "demo", "robustness")
VIEW_NAMES = {"both-views": "both views", "cqt-view": "CQT view", "chroma-view": "chroma view"}
BASELINES = ("qmax", "fourier")
LONGER_SECONDS = 30
DEMO = Path(__file__).resolve().parents[2] / "tests" / "demo"

DESCRIPTION = """\
Print one table: MAP, MR1 and Rank-1 with intervals (bootstrap over cliques), the paired difference to the
first system, and the time that each system took.

scores      human-made versions of validation works, played to audio by FluidSynth with a SoundFont that
            training did not use (--soundfont). The shipped weights have heard TimGM6mb, FluidR3, sf_GMbank
            and MuseScore_General; OPL-3_FM is FM synthesis and independent of them.
anthems     real recordings: all, those confirmed as versions by alignment, and of these the longer ones
covers      real covers of validation works, known by their pitch classes only: at most four versions of
            each work (--works N: of the first N works). Of our weights it shows the chroma view.
demo        the ten demo recordings
robustness  the demo recordings (with --works N, the first works of scores too) transposed, slowed,
            filtered, with noise, cut, as MP3: is the original still the nearest, and how far is it?

Systems: ours (as the weights are sealed); cqt-view, chroma-view and both-views, the same weights with one
view of a recording or both; played-once, without the second playing; qmax, Essentia's ChromaCrossSimilarity
and CoverSongSimilarity; fourier, the 2-D Fourier magnitude of chroma. All of them see the same CQT columns.
"""


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the command to the argument tree."""
    parser = subparsers.add_parser(
        "benchmark-accuracy",
        help="accuracy on a test set, beside other systems",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("set", choices=SETS, help="the table")
    parser.add_argument(
        "--corpus", type=Path, metavar="FOLDER", help="with scores.npz, anthems.npz, hpcp.npz"
    )
    parser.add_argument("--demo", type=Path, metavar="FOLDER", default=DEMO, help="demo recordings")
    parser.add_argument("--soundfont", type=Path, metavar="FILE", help="SF2 or SF3, to play scores with")
    parser.add_argument("--works", type=int, metavar="N", help="only the first N works of scores or covers")
    parser.add_argument("--transpose", action="store_true", help="play each score in a random key")
    parser.add_argument(
        "--systems",
        nargs="+",
        choices=("ours", *VIEW_NAMES, "played-once", *BASELINES),
        default=["ours", *BASELINES],
        help="systems to compare, the first with each of the others (default: ours qmax fourier)",
    )
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        default=os.environ.get("MIREX_WEIGHTS"),
        help="instead of the shipped ones",
    )
    parser.add_argument("--device", default="cpu", help="of the network (default cpu)")
    parser.add_argument(
        "--qmax-columns",
        type=int,
        default=1,
        metavar="N",
        help="columns of 0.464 s in a chroma frame of qmax; 2 is 4 times as fast (default 1; covers have 2)",
    )
    parser.add_argument("--resamples", type=int, default=2000, metavar="N", help="bootstrap (default 2000)")
    parser.add_argument("--level", type=float, default=0.95, help="of the intervals (default 0.95)")
    parser.add_argument("--seed", type=int, default=0, help="of all random draws (default 0)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--save",
        type=Path,
        metavar="FOLDER",
        help="keep every system's matrix and the cliques, for mirex evaluate and report (not for robustness)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure, print, return the exit status."""
    _check(args)
    sealed = _sealed(args)
    systems = _systems(args, sealed)
    front_end = _front_end(sealed)
    conditions = {
        "set": args.set,
        "weights": sealed.fingerprint if sealed else None,
        "front_end": front_end.fingerprint(),
        "soundfont": args.soundfont.name if args.soundfont else None,
        "works": args.works,
        "transposed": args.transpose or None,
        "seed": args.seed,
    }
    measure = _measure_robustness if args.set == "robustness" else _measure_accuracy
    text, result = measure(args, systems, front_end)
    if args.json:
        print(json.dumps({"conditions": conditions, **result}, indent=2))
    else:
        given = {name: value for name, value in conditions.items() if value is not None}
        print(text, ", ".join(f"{name} {value}" for name, value in given.items()), sep="\n\n")
    return 0


def _check(args: argparse.Namespace) -> None:
    plays = args.set == "scores" or (args.set == "robustness" and args.works)
    if (plays or args.set in ("anthems", "covers")) and not args.corpus:
        raise UsageError(f"{args.set}: needs --corpus, the folder with scores.npz, anthems.npz and hpcp.npz")
    if args.set == "covers" and not {"cqt-view", "both-views"}.isdisjoint(args.systems):
        raise UsageError("covers are known by their pitch classes only: they have no CQT view")
    if plays and not args.soundfont:
        raise UsageError("scores are played to audio: give a SoundFont with --soundfont")
    if args.qmax_columns < 1 or (args.works is not None and args.works < 1):
        raise UsageError("--qmax-columns and --works are numbers of 1 or more")


def _sealed(args: argparse.Namespace) -> "Sealed | None":
    """Weights, where a system needs them."""
    if set(args.systems) <= set(BASELINES):
        return None
    from mirex.model import weights

    return weights.load(args.weights, device=args.device)


def _front_end(sealed: "Sealed | None") -> "FrontEndSettings":
    from mirex.settings import FrontEndSettings

    return sealed.front_end if sealed else FrontEndSettings()


def _systems(args: argparse.Namespace, sealed: "Sealed | None") -> "list[System]":
    from mirex.benchmarks.baselines import PROFILE_COLUMNS, FourierMagnitude, Qmax

    systems: list[System] = []
    covers = args.set == "covers"
    for name in dict.fromkeys(args.systems):
        if name == "qmax":
            systems.append(Qmax(columns_per_frame=PROFILE_COLUMNS if covers else args.qmax_columns))
        elif name == "fourier":
            systems.append(FourierMagnitude())
        else:
            assert sealed is not None  # loaded for these
            systems.append(_ours("chroma-view" if covers and name == "ours" else name, sealed))
    return systems


def _ours(name: str, sealed: "Sealed") -> "System":
    """Our system of this name."""
    from mirex.benchmarks.accuracy import Embedding, played_once, view

    if name == "played-once":
        return played_once(sealed)
    return Embedding(sealed) if name == "ours" else view(sealed, name=VIEW_NAMES[name])


def _clips(
    args: argparse.Namespace, front_end: "FrontEndSettings"
) -> "tuple[Sequence[AnyClip], dict[str, NDArray[np.bool_]]]":
    """The recordings of the set, and for each table its title and which of them it is about."""
    import numpy as np

    from mirex.benchmarks.testsets import to_clips
    from mirex.corpora.clips import anthem_clips, cover_clips

    clips: Sequence[AnyClip]
    parts: dict[str, NDArray[np.bool_]] = {}
    if args.set == "anthems":
        clips, confirmed = anthem_clips(args.corpus / "anthems.npz", front_end=front_end)
        seconds = front_end.seconds_per_column
        longer = np.array([clip.columns.shape[1] * seconds >= LONGER_SECONDS for clip in clips])
        parts = {
            "anthems, confirmed": confirmed,
            f"anthems, confirmed, {LONGER_SECONDS} s or longer": confirmed & longer,
        }
    elif args.set == "covers":
        clips = cover_clips(args.corpus / "hpcp.npz", works=args.works)
    else:
        total, recordings = _recordings(args)
        with _progress("audio and front end") as progress:
            clips = to_clips(recordings, front_end=front_end, progress=lambda done: progress(done, total))
    return clips, {args.set: np.ones(len(clips), bool), **parts}


def _measure_accuracy(
    args: argparse.Namespace, systems: "list[System]", front_end: "FrontEndSettings"
) -> tuple[str, dict[str, Any]]:
    from mirex.benchmarks.accuracy import (
        Drawing,
        compare_all,
        only,
        save_matrices,
        table_json,
        table_text,
        tabulate,
    )

    clips, parts = _clips(args, front_end)
    results = []
    for system in systems:
        with _progress(system.name) as progress:
            results.append(compare_all(clips, system=system, progress=progress))
    drawing = Drawing(resamples=args.resamples, level=args.level, seed=args.seed)
    tables = [
        tabulate(title, [only(result, chosen) for result in results], clips=clips, drawing=drawing)
        for title, chosen in parts.items()
    ]
    if args.save:
        for title, chosen in parts.items():
            save_matrices([only(result, chosen) for result in results], clips, title=title, folder=args.save)
    text = "\n\n".join(map(table_text, tables))
    return text, {"level": args.level, "tables": [table_json(table) for table in tables]}


def _measure_robustness(
    args: argparse.Namespace, systems: "list[System]", front_end: "FrontEndSettings"
) -> tuple[str, dict[str, Any]]:
    from mirex.benchmarks.robustness import compare_degraded, degrade, robustness_text

    total, recordings = _recordings(args)
    with _progress("degraded audio and front end") as progress:
        originals, degraded = degrade(
            recordings,
            front_end=front_end,
            seed=args.seed,
            progress=lambda done: progress(done, total),
        )
    with _progress("comparison") as progress:
        rows = compare_degraded(originals, degraded, systems=systems, progress=progress)
    text = robustness_text(rows, recordings=total)
    return text, {"recordings": total, "rows": [row._asdict() for row in rows]}


def _recordings(args: argparse.Namespace) -> "tuple[int, Iterator[Recording]]":
    """How many recordings there will be, and the recordings, whose audio is made one by one."""
    from itertools import chain

    from mirex.benchmarks.testsets import demo_names, demo_recordings, score_recordings, several_versions
    from mirex.corpora.scores import ScoreCorpus

    total, sources = 0, []
    if args.set != "scores":
        total += len(demo_names(args.demo))
        sources.append(demo_recordings(args.demo))
    if args.set == "scores" or (args.set == "robustness" and args.works):
        corpus = ScoreCorpus.load(args.corpus / "scores.npz", split="validation")
        total += sum(map(len, several_versions(corpus)[: args.works]))
        options = {"works": args.works, "transpose": args.transpose, "seed": args.seed}
        sources.append(score_recordings(corpus, soundfont=args.soundfont, **options))
    return total, chain(*sources)


def _progress(title: str) -> "ProgressLine":
    from mirex.logs import ProgressLine, log

    log.info("%s", title)
    return ProgressLine()
