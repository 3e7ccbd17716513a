"""The accuracy benchmark's sets: what each is made from, which systems run on it, and measuring them.

A set's source is a fingerprint of the files and options that its recordings come from. A baseline that was
measured on the same source, with the same settings, is taken from the results and not computed again.
"""

import dataclasses
import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mirex.benchmarks import accuracy, robustness
from mirex.benchmarks.accuracy import AnyClip, Drawing, Measured, Timed
from mirex.benchmarks.baselines import PROFILE_COLUMNS, FourierMagnitude, Progress, Qmax, System
from mirex.benchmarks.results import Results, fingerprint
from mirex.benchmarks.testsets import (
    Recording,
    demo_names,
    demo_recordings,
    score_recordings,
    several_versions,
    to_clips,
)
from mirex.corpora import public_sets
from mirex.corpora.clips import Clip, anthem_clips, cover_clips, pop_clips
from mirex.corpora.scores import ScoreCorpus
from mirex.errors import AudioError, EvaluationError
from mirex.features.audio import decode
from mirex.features.cqt import columns
from mirex.settings import FrontEndSettings

SETS = ("pop", "pop-among", "anthems", "covers", "scores", "demo", "robustness")
PUBLIC = tuple(public_sets.READERS)
BASELINES = ("qmax", "fourier")
DEFAULT_SYSTEMS = ("ours", *BASELINES)
FAST_SYSTEMS = ("ours", "fourier")  # where there are too many pairs for Qmax
LONGER_SECONDS = 30
ALL_WORKS = {"covers": 75, "scores": 40, "robustness": 5}
QMAX_COLUMNS = {"pop": 2, "pop-among": 2, "scores": 2, "robustness": 2}

log = logging.getLogger(__name__)

SystemMaker = Callable[[str], System]
Watch = Callable[[str], Progress]


@dataclasses.dataclass(frozen=True)
class Options:
    """What the sets are made from, and how figures are drawn.

    Attributes
    ----------
    corpus : Path or None
        Folder with recordings.npz, scores.npz, anthems.npz and hpcp.npz.
    demo : Path
        Folder of the demo recordings.
    soundfont : Path or None
        Plays the scores.
    works : int or None
        Only this many works of scores or covers, from the first on.
    transpose : bool
        Move each score to a random key.
    front_end : FrontEndSettings
        Of the weights.
    drawing : Drawing
        Its seed is that of all random draws.
    save : Path or None
        Folder for every system's matrices.
    lists, audio : Path or None
        Of a public set: its published lists, and a folder of audio.
    """

    corpus: Path | None
    demo: Path
    soundfont: Path | None
    works: int | None
    transpose: bool
    front_end: FrontEndSettings
    drawing: Drawing
    save: Path | None = None
    lists: Path | None = None
    audio: Path | None = None

    def tracks(self, name: str) -> list[public_sets.Track]:
        """List the tracks of a public set for which the user has audio.

        Parameters
        ----------
        name : str
            One of PUBLIC.

        Returns
        -------
        list of Track

        Raises
        ------
        EvaluationError
            If the lists or the audio cannot be read.
        """
        assert self.lists is not None  # checked with the arguments
        assert self.audio is not None
        found = public_sets.tracks(name, lists=self.lists, audio=self.audio)
        return [track for track in found if track.audio_path is not None]

    def archive(self, name: str) -> Path:
        """Path of a file of the corpus.

        Parameters
        ----------
        name : str
            Such as "scores.npz".

        Returns
        -------
        Path
        """
        assert self.corpus is not None  # checked with the arguments
        return self.corpus / name


class Part(NamedTuple):
    """Part of a set that has a table of its own.

    Attributes
    ----------
    title : str
        Of the table.
    chosen : bool [clips]
        Which of the set's clips belong to it.
    """

    title: str
    chosen: NDArray[np.bool_]


def default_systems(name: str) -> tuple[str, ...]:
    """Systems that a set is measured with by default.

    Parameters
    ----------
    name : str
        One of SETS or PUBLIC.

    Returns
    -------
    tuple of str
        Keys; those of FAST_SYSTEMS for a set with too many pairs for Qmax.
    """
    many = ("pop-among", "da-tacos", "shs100k", "discogs-vi")
    return FAST_SYSTEMS if name in many else DEFAULT_SYSTEMS


def baseline(key: str, *, name: str, qmax_columns: int | None) -> System:
    """Make a baseline for a set.

    Parameters
    ----------
    key : str
        One of BASELINES.
    name : str
        The set, one of SETS or PUBLIC.
    qmax_columns : int or None
        CQT columns per chroma frame of Qmax; None for the set's default. The covers, which are profiles, have
        two in any case.

    Returns
    -------
    System
    """
    if key == "fourier":
        return FourierMagnitude()
    usual = 2 if name in PUBLIC else QMAX_COLUMNS.get(name, 1)
    return Qmax(columns_per_frame=PROFILE_COLUMNS if name == "covers" else qmax_columns or usual)


def source(name: str, options: Options) -> str:
    """Fingerprint of what a set's recordings come from.

    Parameters
    ----------
    name : str
        One of SETS or PUBLIC.
    options : Options
        The files, and the options that change the recordings.

    Returns
    -------
    str
        16 hexadecimal digits.

    Raises
    ------
    EvaluationError
        If a file cannot be read.
    """
    conditions: dict[str, Any] = {
        "set": name,
        "front_end": options.front_end.fingerprint(),
        "seed": options.drawing.seed,
    }
    if name in PUBLIC:
        there = [(track.track_id, track.audio_path) for track in options.tracks(name)]
        conditions["audio"] = [[track, path.stat().st_size] for track, path in there if path]
    elif name in ("pop", "pop-among"):
        conditions["files"] = [_digest(options.archive("recordings.npz"))]
    elif name == "anthems":
        conditions["files"] = [_digest(options.archive("anthems.npz"))]
    elif name == "covers":
        conditions |= {"files": [_digest(options.archive("hpcp.npz"))], "works": options.works}
    else:
        if name != "scores":
            files = [options.demo / each for each in demo_names(options.demo)]
            conditions["demo"] = [_digest(file) for file in files]
        if name == "scores" or (name == "robustness" and options.works):
            assert options.soundfont is not None  # checked with the arguments
            conditions |= {
                "files": [_digest(options.archive("scores.npz")), _digest(options.soundfont)],
                "works": options.works,
                "transpose": options.transpose,
            }
    return fingerprint(conditions)


def measure_set(
    name: str,
    *,
    options: Options,
    keys: Sequence[str],
    make: SystemMaker,
    results: Results,
    watch: Watch,
) -> str:
    """Measure systems on a set of recordings and put its tables into the results.

    Parameters
    ----------
    name : str
        One of SETS but robustness.
    options : Options
        What the set is made from.
    keys : sequence of str
        The systems to measure; the first is compared with each of the others.
    make : callable
        Turns a key into the system.
    results : Results
        Baselines already in it are kept; the tables are replaced.
    watch : callable
        Turns a title into a progress callback of (done, total).

    Returns
    -------
    str
        The tables for a terminal.
    """
    found = source(name, options)
    systems = {key: make(key) for key in keys}
    known = _known(name, systems, source=found, results=results, options=options)
    texts = []
    if wanted := [key for key in keys if key not in known]:
        clips, parts = load(name, options, watch=watch)
        timed = {
            key: accuracy.compare_all(clips, system=systems[key], progress=watch(systems[key].name))
            for key in wanted
        }
        for part in parts:
            results_of_part = {key: accuracy.only(each, part.chosen) for key, each in timed.items()}
            new = _measured(results_of_part, systems, clips, part, options)
            texts.append(_put(part.title, new, keys=keys, source=found, results=results, options=options))
    else:
        for title in known[keys[0]]:
            texts.append(_put(title, {}, keys=keys, source=found, results=results, options=options))
    return "\n\n".join(texts)


def _known(
    name: str, systems: Mapping[str, System], *, source: str, results: Results, options: Options
) -> dict[str, list[str]]:
    """{key of a baseline that has been measured already: titles of its tables}."""
    if options.save:
        return {}
    titles = [title for title in results.content["tables"] if title.split(",")[0] == name]
    kept: dict[str, list[str]] = {}
    for key in systems.keys() & set(BASELINES):
        there = [results.measured(title, source=source).get(key) for title in titles]
        if titles and all(each is not None and each.settings == systems[key].settings for each in there):
            log.info("%s: %s is kept, since it was measured on the same recordings", name, systems[key].name)
            kept[key] = titles
    return kept


def _measured(
    timed: Mapping[str, Timed],
    systems: Mapping[str, System],
    clips: Sequence[AnyClip],
    part: Part,
    options: Options,
) -> dict[str, tuple[accuracy.EvaluatedSet, Measured]]:
    if options.save:
        accuracy.save_matrices(list(timed.values()), clips, title=part.title, folder=options.save)
    return {
        key: accuracy.measure(each, clips=clips, settings=systems[key].settings)
        for key, each in timed.items()
    }


def _put(
    title: str,
    new: Mapping[str, tuple[accuracy.EvaluatedSet, Measured]],
    *,
    keys: Sequence[str],
    source: str,
    results: Results,
    options: Options,
) -> str:
    """Put new values into the results, beside the old ones of the same recordings."""
    old = results.measured(title, source=source)
    test_set = next((found for found, _ in new.values()), None) or results.test_set(title, source=source)
    assert test_set is not None  # without new values, the results have it
    merged = old | {key: measured for key, (_, measured) in new.items()}
    order = [*keys, *(key for key in merged if key not in keys)]
    if "ours" in merged and "ours" not in keys:
        order.insert(0, order.pop(order.index("ours")))
    chosen = {key: merged[key] for key in order}
    table = results.put_table(title, chosen, test_set=test_set, source=source, drawing=options.drawing)
    return accuracy.table_text(table)


def measure_robustness(
    *, options: Options, keys: Sequence[str], make: SystemMaker, results: Results, watch: Watch
) -> str:
    """Measure systems on degraded recordings and put the table into the results.

    Parameters
    ----------
    options : Options
        What the recordings are made from.
    keys : sequence of str
        The systems to measure.
    make : callable
        Turns a key into the system.
    results : Results
        Baselines already in it are kept; the table is replaced.
    watch : callable
        Turns a title into a progress callback of (done, total).

    Returns
    -------
    str
        The table for a terminal.
    """
    found = source("robustness", options)
    systems = {key: make(key) for key in keys}
    there = results.content["robustness"]
    old = there.get("systems", {}) if there.get("source") == found else {}
    same = {
        key
        for key in old.keys() & set(BASELINES) & set(keys)
        if old[key]["settings"] == systems[key].settings
    }
    total, recordings = audio(name="robustness", options=options)
    if wanted := {key: system for key, system in systems.items() if key not in same}:
        progress = watch("degraded audio and front end")
        originals, degraded = robustness.degrade(
            recordings,
            front_end=options.front_end,
            seed=options.drawing.seed,
            progress=lambda done: progress(done, total),
        )
        rows = robustness.compare_degraded(
            originals, degraded, systems=list(wanted.values()), progress=watch("comparison")
        )
        for key, system in wanted.items():
            own = [row._asdict() for row in rows if row.system == system.name]
            old = {**old, key: {"system": system.name, "settings": dict(system.settings), "rows": own}}
    results.content["robustness"] = {"source": found, "recordings": total, "systems": old}
    shown = [robustness.Robustness(**row) for key in keys for row in old[key]["rows"]]
    return robustness.robustness_text(shown, recordings=total)


def load(name: str, options: Options, *, watch: Watch) -> tuple[Sequence[AnyClip], list[Part]]:
    """Load the recordings of a set.

    Parameters
    ----------
    name : str
        One of SETS but robustness, or of PUBLIC.
    options : Options
        What the set is made from.
    watch : callable
        Turns a title into a progress callback of (done, total).

    Returns
    -------
    clips : sequence of Clip or ProfileClip
        The recordings.
    parts : list of Part
        The tables to make of them.

    Raises
    ------
    EvaluationError
        If a list cannot be read, or the files hold no recording.
    TrainingError
        If an archive cannot be read.
    """
    clips: Sequence[AnyClip]
    if name in PUBLIC:
        clips = _public_clips(name, options, watch=watch)
    elif name in ("pop", "pop-among"):
        clips, paired = pop_clips(
            options.archive("recordings.npz"), front_end=options.front_end, seed=options.drawing.seed
        )
        if name == "pop":
            clips = [clip for clip, kept in zip(clips, paired, strict=True) if kept]
    elif name == "anthems":
        return _anthems(options)
    elif name == "covers":
        clips = cover_clips(options.archive("hpcp.npz"), works=options.works)
    else:
        total, recordings = audio(name=name, options=options)
        progress = watch("audio and front end")
        clips = to_clips(recordings, front_end=options.front_end, progress=lambda done: progress(done, total))
    if not clips:
        raise EvaluationError(f"{name}: the files given have no recordings")
    return clips, [Part(name, np.ones(len(clips), bool))]


def _public_clips(name: str, options: Options, *, watch: Watch) -> list[AnyClip]:
    """Clips of a user's copy of a public set; a file that cannot be read is reported and left out."""
    tracks, progress = options.tracks(name), watch("audio and front end")
    clips: list[AnyClip] = []
    for done, track in enumerate(tracks, start=1):
        assert track.audio_path is not None  # only these are given
        try:
            samples = decode(track.audio_path)
            clips.append(Clip(track.track_id, track.work_id, columns(samples, settings=options.front_end)))
        except AudioError as error:
            log.warning("%s: left out: %s", track.track_id, error)
        progress(done, len(tracks))
    return clips


def _anthems(options: Options) -> tuple[Sequence[AnyClip], list[Part]]:
    clips, confirmed = anthem_clips(options.archive("anthems.npz"), front_end=options.front_end)
    seconds = options.front_end.seconds_per_column
    longer = np.array([clip.columns.shape[1] * seconds >= LONGER_SECONDS for clip in clips])
    return clips, [
        Part("anthems", np.ones(len(clips), bool)),
        Part("anthems, confirmed", confirmed),
        Part(f"anthems, confirmed, {LONGER_SECONDS} s or longer", confirmed & longer),
    ]


def audio(*, name: str, options: Options) -> tuple[int, Iterator[Recording]]:
    """Find the recordings of a set that is made of audio.

    Parameters
    ----------
    name : str
        demo, scores or robustness.
    options : Options
        What the set is made from.

    Returns
    -------
    total : int
        How many recordings there are.
    recordings : iterator of Recording
        Decoded or synthesised one by one.

    Raises
    ------
    EvaluationError
        If a list cannot be read.
    TrainingError
        If an archive cannot be read.
    """
    total, sources = 0, []
    if name != "scores":
        total += len(demo_names(options.demo))
        sources.append(demo_recordings(options.demo))
    if name == "scores" or (name == "robustness" and options.works):
        assert options.soundfont is not None  # checked with the arguments
        corpus = ScoreCorpus.load(options.archive("scores.npz"), split="validation")
        total += sum(map(len, several_versions(corpus)[: options.works]))
        seed = options.drawing.seed
        sources.append(
            score_recordings(
                corpus,
                soundfont=options.soundfont,
                works=options.works,
                transpose=options.transpose,
                seed=seed,
            )
        )
    return total, chain(*sources)


def _digest(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise EvaluationError(f"{path}: cannot be read ({error.strerror})") from error
