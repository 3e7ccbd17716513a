"""`mirex benchmark-accuracy`: our figures on a test set, beside what a user could pick instead."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mirex.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mirex.benchmarks.baselines import Progress, System
    from mirex.benchmarks.results import Results
    from mirex.benchmarks.suite import Options
    from mirex.model.weights import Sealed

SETS = ("pop", "pop-among", "anthems", "covers", "scores", "demo", "robustness")
PUBLIC = ("covers80", "da-tacos", "shs100k", "discogs-vi")
IN_CORPUS = ("pop", "pop-among", "anthems", "covers")
VIEW_NAMES = {"both-views": "both views", "cqt-view": "CQT view", "chroma-view": "chroma view"}
BASELINES = ("qmax", "fourier")
DEMO = Path(__file__).resolve().parents[2] / "tests" / "demo"

DESCRIPTION = """\
Print one table: MAP, MR1 and Rank-1 with intervals (bootstrap over cliques), the paired difference to the
first system, the time that each system took, how many unrelated pairs lie close together, and hubs.

pop         real recordings with another version in the validation split of recordings.npz, alone
pop-among   the same among the split's distractors, which is how a user searches
anthems     real recordings: all, those confirmed as versions by alignment, and of these the longer ones
covers      real covers of validation works, known by their pitch classes only: at most four versions of
            each work (--works N: of the first N works). Of our weights it shows the chroma view.
scores      human-made versions of validation works, played to audio by FluidSynth with a SoundFont that
            training did not use (--soundfont). The shipped weights have heard TimGM6mb, FluidR3, sf_GMbank
            and MuseScore_General; OPL-3_FM is FM synthesis and independent of them.
demo        the ten demo recordings
robustness  the demo recordings (with --works N, the first works of scores too) transposed, slowed,
            filtered, with noise, cut, as MP3: is the original still the nearest, and how far is it?

covers80, da-tacos, shs100k (its test split), discogs-vi (its test split): your copy of a public set. --lists
            names the folder or file of its published lists, --audio the folder below which your files lie,
            named by the lists' identifiers. What is missing is reported. To shs100k these weights are
            closed, because they were trained on chroma of its works.

--all measures all but the public ones: 75 works of covers, 40 of scores, 5 of robustness.

Systems: ours (as the weights are sealed); cqt-view, chroma-view and both-views, the same weights with one
view of a recording or both; played-once, without the second playing; qmax, Essentia's ChromaCrossSimilarity
and CoverSongSimilarity; fourier, the 2-D Fourier magnitude of chroma. All of them see the same CQT columns.

--json FILE adds the figures to a file of results. Baselines that it holds of the same recordings are kept:
after a change of the weights, --all --systems ours measures anew only what has changed.
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
    parser.add_argument("set", nargs="?", choices=(*SETS, *PUBLIC), help="the table")
    parser.add_argument("--all", action="store_true", help="all of them")
    parser.add_argument(
        "--corpus",
        type=Path,
        metavar="FOLDER",
        help="with recordings.npz, anthems.npz, hpcp.npz, scores.npz",
    )
    parser.add_argument("--demo", type=Path, metavar="FOLDER", default=DEMO, help="demo recordings")
    parser.add_argument("--lists", type=Path, metavar="PATH", help="published lists of a public set")
    parser.add_argument("--audio", type=Path, metavar="FOLDER", help="your audio of a public set")
    parser.add_argument("--soundfont", type=Path, metavar="FILE", help="SF2 or SF3, to play scores with")
    parser.add_argument("--works", type=int, metavar="N", help="only the first N works of scores or covers")
    parser.add_argument("--transpose", action="store_true", help="play each score in a random key")
    parser.add_argument(
        "--systems",
        nargs="+",
        choices=("ours", *VIEW_NAMES, "played-once", *BASELINES),
        help="systems to compare, the first with each of the others (default: ours qmax fourier; "
        "pop-among: ours fourier)",
    )
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        default=os.environ.get("MIREX_WEIGHTS"),
        help="instead of the shipped ones",
    )
    parser.add_argument(
        "--device", choices=("cpu", "cuda", "auto"), default="cpu", help="of the network (default cpu)"
    )
    parser.add_argument(
        "--qmax-columns",
        type=int,
        metavar="N",
        help="columns of 0.464 s in a chroma frame of qmax; 2 is 4 times as fast (default 2, for anthems and "
        "demo 1; covers have 2)",
    )
    parser.add_argument("--resamples", type=int, default=2000, metavar="N", help="bootstrap (default 2000)")
    parser.add_argument("--level", type=float, default=0.95, help="of the intervals (default 0.95)")
    parser.add_argument("--seed", type=int, default=0, help="of all random draws (default 0)")
    parser.add_argument(
        "--json",
        nargs="?",
        const="-",
        metavar="FILE",
        help="add the figures to a file of results; without a name, print them as JSON instead of text",
    )
    parser.add_argument(
        "--show",
        type=Path,
        metavar="FILE",
        help="measure nothing; print MAP, MR1 and Rank-1 of a file of results as one Markdown table",
    )
    parser.add_argument(
        "--save",
        type=Path,
        metavar="FOLDER",
        help="keep every system's matrix and the cliques, for mirex evaluate and report (not for robustness)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure, print, return the exit status."""
    if args.show:
        return _show(args.show)
    sets = _sets(args)
    for name in sets:
        _check(args, name)
    from mirex.benchmarks.results import Results

    results = Results.load(Path(args.json)) if args.json not in (None, "-") else Results()
    sealed = _sealed(args)
    texts = []
    for name in sets:
        texts.append(_measure(args, name, sealed, results))
        if args.json not in (None, "-"):
            _note(args, sealed, results)
            results.save(Path(args.json))
    _note(args, sealed, results)
    if args.json == "-":
        print(results.text(), end="")
    else:
        print("\n\n".join([*texts, _made_text(results)]))
    return 0


def _show(path: Path) -> int:
    from mirex.benchmarks.results import Results

    if not path.is_file():
        raise UsageError(f"{path}: no file of results; make it with --json {path}")
    print(Results.load(path).markdown())
    return 0


def _sets(args: argparse.Namespace) -> "Sequence[str]":
    if bool(args.set) == args.all:
        raise UsageError("name one set, or give --all")
    return SETS if args.all else (args.set,)


def _works(args: argparse.Namespace, name: str) -> int | None:
    from mirex.benchmarks.suite import ALL_WORKS

    return ALL_WORKS.get(name) if args.all and args.works is None else args.works


def _check(args: argparse.Namespace, name: str) -> None:
    plays = name == "scores" or (name == "robustness" and (args.works or args.all))
    if (plays or name in IN_CORPUS) and not args.corpus:
        raise UsageError(
            f"{name}: needs --corpus, the folder with recordings.npz, scores.npz, anthems.npz and hpcp.npz"
        )
    if name == "covers" and not {"cqt-view", "both-views"}.isdisjoint(args.systems or ()):
        raise UsageError("covers are known by their pitch classes only: they have no CQT view")
    if name in PUBLIC:
        _check_public(args, name)
    if plays and not args.soundfont:
        raise UsageError("scores are played to audio: give a SoundFont with --soundfont")
    for option, value in (("--qmax-columns", args.qmax_columns), ("--works", args.works)):
        if value is not None and value < 1:
            raise UsageError(f"{option} is {value}; it is a number of 1 or more")


def _check_public(args: argparse.Namespace, name: str) -> None:
    """Report what is missing, and refuse to judge the weights by what they were trained on."""
    from mirex.corpora import public_sets
    from mirex.logs import log

    if not args.lists or not args.audio:
        raise UsageError(f"{name}: needs --lists, its published lists, and --audio, a folder of your files")
    ours = not args.systems or not set(args.systems) <= set(BASELINES)
    if ours and name in public_sets.CLOSED:
        raise UsageError(f"{name}: {public_sets.CLOSED[name]}; measure --systems {' '.join(BASELINES)}")
    found = public_sets.tracks(name, lists=args.lists, audio=args.audio)
    missing = any(track.audio_path is None for track in found)
    (log.warning if missing else log.info)("%s", public_sets.missing_text(name, found))
    if name in public_sets.CAUTIONS:
        log.info("%s: %s", name, public_sets.CAUTIONS[name])


def _sealed(args: argparse.Namespace) -> "Sealed | None":
    """Weights, where a system needs them."""
    from mirex.extraction.extract import resolve_device

    device = resolve_device(args.device)
    if args.systems and set(args.systems) <= set(BASELINES):
        return None
    from mirex.model import weights

    return weights.load(args.weights, device=device)


def _options(args: argparse.Namespace, name: str, sealed: "Sealed | None") -> "Options":
    from mirex.benchmarks.accuracy import Drawing
    from mirex.benchmarks.suite import Options
    from mirex.settings import FrontEndSettings

    return Options(
        corpus=args.corpus,
        demo=args.demo,
        soundfont=args.soundfont,
        works=_works(args, name),
        transpose=args.transpose,
        front_end=sealed.front_end if sealed else FrontEndSettings(),
        drawing=Drawing(resamples=args.resamples, level=args.level, seed=args.seed),
        save=args.save,
        lists=args.lists,
        audio=args.audio,
    )


def _measure(args: argparse.Namespace, name: str, sealed: "Sealed | None", results: "Results") -> str:
    from mirex.benchmarks import suite

    def make(key: str) -> "System":
        if key in BASELINES:
            return suite.baseline(key, name=name, qmax_columns=args.qmax_columns)
        assert sealed is not None  # loaded for these
        return _ours("chroma-view" if name == "covers" and key == "ours" else key, sealed)

    options = _options(args, name, sealed)
    usual = suite.default_systems(name)
    keys = tuple(dict.fromkeys(args.systems or usual))
    if args.all:  # qmax would take hours where there are many pairs
        keys = tuple(key for key in keys if key in usual or key not in BASELINES)
    common: dict[str, Any] = {"options": options, "keys": keys, "make": make, "results": results}
    if name == "robustness":
        return suite.measure_robustness(**common, watch=_progress)
    return suite.measure_set(name, **common, watch=_progress)


def _ours(name: str, sealed: "Sealed") -> "System":
    """Our system of this name."""
    from mirex.benchmarks.accuracy import Embedding, played_once, view

    if name == "played-once":
        return played_once(sealed)
    return Embedding(sealed) if name == "ours" else view(sealed, name=VIEW_NAMES[name])


def _note(args: argparse.Namespace, sealed: "Sealed | None", results: "Results") -> None:
    """Write down what made the results."""
    import datetime
    import platform
    from importlib.metadata import version

    import mirex

    made = results.content["made"]
    if sealed:
        made["weights"] = sealed.fingerprint
        made["front_end"] = sealed.front_end.fingerprint()
    made["date"] = datetime.date.today().isoformat()
    made["command"] = _command(args)
    packages = ("numpy", "scipy", "torch", "essentia")
    made["versions"] = {
        "mirex": mirex.__version__,
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
    }
    results.content["drawing"] = {"resamples": args.resamples, "level": args.level, "seed": args.seed}


def _command(args: argparse.Namespace) -> str:
    """The command, with names of files and folders instead of whole paths."""
    parts = ["mirex", "benchmark-accuracy", "--all" if args.all else args.set]
    for name in ("corpus", "lists", "audio", "soundfont", "works", "qmax_columns", "systems"):
        value = getattr(args, name)
        if value is not None:
            shown = value.name if isinstance(value, Path) else value
            parts += [f"--{name.replace('_', '-')}", *([shown] if not isinstance(shown, list) else shown)]
    return " ".join(map(str, [*parts, *(["--transpose"] if args.transpose else [])]))


def _made_text(results: "Results") -> str:
    made = {**results.content["made"], **results.content["drawing"]}
    made["versions"] = " ".join(f"{name} {version}" for name, version in made["versions"].items())
    return ", ".join(f"{name} {value}" for name, value in made.items())


def _progress(title: str) -> "Progress":
    from mirex.logs import ProgressLine, log

    log.info("%s", title)
    line = ProgressLine()

    def report(done: int, total: int) -> None:
        line(done, total)
        if done >= total:
            line.__exit__()

    return report
