"""`mirex benchmark-accuracy`: our figures on a test set, next to those of other systems."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mirex.commands import seed
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
Print one table: MAP, MR1 and Rank-1 with confidence intervals (bootstrap over cliques), the paired
difference from the first system, each system's CPU time, how many unrelated pairs are close, and hubs.

pop         real recordings that have another version in the validation split of recordings.npz
pop-among   the same recordings among all the split's distractors, as in a real search
anthems     real recordings: all, those that alignment confirms as versions, and the longer ones of these
covers      real covers of validation works, of which only the pitch classes are known: at most four
            versions of each work (--works N: the first N works). Our weights use the chroma view alone.
scores      human-made versions of validation works, synthesised by FluidSynth with a SoundFont that
            training did not use (--soundfont). The shipped weights were trained on TimGM6mb, FluidR3,
            sf_GMbank and MuseScore_General; OPL-3_FM is FM synthesis and independent of them.
demo        the ten demo recordings
robustness  the demo recordings (with --works N, also the first N works of scores) transposed, at other
            tempi, filtered, noisy, cut, as MP3: is the original still the nearest, and how far is it?

covers80, da-tacos, shs100k (test split), discogs-vi (test split): your copy of a public set. --lists names
            the folder or file of its published lists, --audio the folder that holds your files, named by
            the lists' identifiers. Missing files are reported. These weights cannot be measured on
            shs100k and discogs-vi, because they were trained on chroma of works that both test on.

--all measures all sets but the public ones: 75 works of covers, 40 of scores, 5 of robustness.

Systems: ours (the weights as sealed); cqt-view, chroma-view and both-views, the same weights with one view
of a recording or both; played-once, without test-time augmentation; qmax, Essentia's ChromaCrossSimilarity
and CoverSongSimilarity; fourier, the 2-D Fourier magnitude of chroma. All use the same CQT columns.

--json FILE adds the figures to a results file. Baselines that it already holds for the same recordings are
kept, so after a change of the weights, --all --systems ours measures only what has changed.
"""


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the command to the argument tree."""
    parser = subparsers.add_parser(
        "benchmark-accuracy",
        help="accuracy on a test set, next to other systems",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("set", nargs="?", choices=(*SETS, *PUBLIC), help="the test set")
    parser.add_argument("--all", action="store_true", help="all sets but the public ones")
    parser.add_argument(
        "--corpus",
        type=Path,
        metavar="FOLDER",
        help="folder with recordings.npz, anthems.npz, hpcp.npz, scores.npz",
    )
    parser.add_argument(
        "--demo", type=Path, metavar="FOLDER", default=DEMO, help="folder of the demo recordings"
    )
    parser.add_argument("--lists", type=Path, metavar="PATH", help="published lists of a public set")
    parser.add_argument("--audio", type=Path, metavar="FOLDER", help="your audio of a public set")
    parser.add_argument(
        "--soundfont", type=Path, metavar="FILE", help="SF2 or SF3 file that plays the scores"
    )
    parser.add_argument("--works", type=int, metavar="N", help="only the first N works of scores or covers")
    parser.add_argument("--transpose", action="store_true", help="move each score to a random key")
    parser.add_argument(
        "--systems",
        nargs="+",
        choices=("ours", *VIEW_NAMES, "played-once", *BASELINES),
        help="systems to measure; the first is compared with the others (default: ours qmax fourier; "
        "pop-among: ours fourier)",
    )
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        default=os.environ.get("MIREX_WEIGHTS"),
        help="weights to use instead of the shipped ones",
    )
    parser.add_argument(
        "--device",
        choices=("cpu", "cuda", "auto"),
        default="cpu",
        help="where the network runs (default cpu)",
    )
    parser.add_argument(
        "--qmax-columns",
        type=int,
        metavar="N",
        help="CQT columns (0.464 s) per chroma frame of qmax; 2 is four times as fast as 1 (default 2; 1 for "
        "anthems and demo; always 2 for covers)",
    )
    parser.add_argument(
        "--resamples", type=int, default=2000, metavar="N", help="bootstrap resamples (default 2000)"
    )
    parser.add_argument("--level", type=float, default=0.95, help="confidence level (default 0.95)")
    parser.add_argument("--seed", type=seed, default=0, help="seed of all random draws (default 0)")
    parser.add_argument(
        "--json",
        nargs="?",
        const="-",
        metavar="FILE",
        help="add the figures to a results file; without a name, print them as JSON instead of text",
    )
    parser.add_argument(
        "--show",
        type=Path,
        metavar="FILE",
        help="measure nothing; print MAP, MR1 and Rank-1 of a results file as one Markdown table",
    )
    parser.add_argument(
        "--into",
        type=Path,
        metavar="WEIGHTS",
        help="with --show: seal these figures into the weights file that they were measured with",
    )
    parser.add_argument(
        "--save",
        type=Path,
        metavar="FOLDER",
        help="save every system's matrix and the cliques, for mirex evaluate and report (not for robustness)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure, print, return the exit status."""
    if args.show:
        return _show(args.show, into=args.into)
    if args.into:
        raise UsageError("--into needs --show, the results file that holds the figures")
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


def _show(path: Path, *, into: Path | None) -> int:
    from mirex.benchmarks.results import Results

    if not path.is_file():
        raise UsageError(f"{path}: no such results file; create it with --json {path}")
    results = Results.load(path)
    if into:
        import json

        from mirex.model import weights

        figures = results.figures(weights=weights.fingerprint(weights.read_metadata(into)))
        weights.replace_metadata(into, entries={"results": json.dumps(figures, sort_keys=True)})
    print(results.markdown())
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
        raise UsageError("covers have no CQT view, only pitch classes; choose another system")
    if name in PUBLIC:
        _check_public(args, name)
    if plays and not args.soundfont:
        raise UsageError("scores must be synthesised: give a SoundFont with --soundfont")
    for option, value in (("--qmax-columns", args.qmax_columns), ("--works", args.works)):
        if value is not None and value < 1:
            raise UsageError(f"{option} {value}: give 1 or more")


def _check_public(args: argparse.Namespace, name: str) -> None:
    """Report missing files, and refuse to test the weights on what they were trained on."""
    from mirex.corpora import public_sets
    from mirex.logs import log

    if not args.lists or not args.audio:
        raise UsageError(f"{name}: needs --lists, its published lists, and --audio, a folder of your files")
    ours = not args.systems or not set(args.systems) <= set(BASELINES)
    if ours and not args.weights and name in public_sets.CLOSED:
        raise UsageError(f"{name}: {public_sets.CLOSED[name]}; measure --systems {' '.join(BASELINES)}")
    found = public_sets.tracks(name, lists=args.lists, audio=args.audio)
    missing = any(track.audio_path is None for track in found)
    (log.warning if missing else log.info)("%s", public_sets.missing_text(name, found))
    if name in public_sets.CAUTIONS:
        log.info("%s: %s", name, public_sets.CAUTIONS[name])


def _sealed(args: argparse.Namespace) -> "Sealed | None":
    """The weights, if a system needs them."""
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
    """The system of ours with this name."""
    from mirex.benchmarks.accuracy import Embedding, played_once, view

    if name == "played-once":
        return played_once(sealed)
    return Embedding(sealed) if name == "ours" else view(sealed, name=VIEW_NAMES[name])


def _note(args: argparse.Namespace, sealed: "Sealed | None", results: "Results") -> None:
    """Record what the results were made with."""
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
