"""Test sets for the accuracy benchmarks.

`scores`: human-made versions of the validation works of `scores.npz`, played by FluidSynth with a
SoundFont that training must not have heard, each in its own tempo, through the real front end. `anthems`:
real recordings, `anthems.npz`. `covers`: real covers as pitch-class profiles, the validation works of
`hpcp.npz`. `demo`: the demo recordings; `x_fast.ogg` is another version of `x.ogg`.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mirex._typing import Array
from mirex.benchmarks.baselines import System
from mirex.corpora.profiles import ProfileCorpus
from mirex.corpora.scores import Score, ScoreCorpus
from mirex.errors import EvaluationError
from mirex.features.audio import decode
from mirex.features.cqt import columns
from mirex.settings import FrontEndSettings
from mirex.training.synthesis.fluidsynth import Notes, synthesise

ARCHIVE_FRAMES = 10  # CQT frames in a column of anthems.npz


class Recording(NamedTuple):
    """name: unique in its set. work: its clique. samples: float32 [samples] at 22,050 Hz."""

    name: str
    work: str
    samples: Array


class Clip(NamedTuple):
    """name: unique in its set. work: its clique. columns: float32 [84, columns]."""

    name: str
    work: str
    columns: Array

    def described_by(self, system: System) -> Array:
        """What the system keeps of it."""
        return system.describe(self.columns)


class ProfileClip(NamedTuple):
    """name: unique in its set. work: its clique. profile: float32 [12, steps] in 0..1, steps of 0.93 s."""

    name: str
    work: str
    profile: Array

    def described_by(self, system: System) -> Array:
        """What the system keeps of it."""
        return system.describe_profile(self.profile)


def demo_names(folder: Path) -> list[str]:
    """The file names in `collection.txt`. Raises EvaluationError if it cannot be read."""
    try:
        return (folder / "collection.txt").read_text("utf-8").split()
    except OSError as error:
        raise EvaluationError(f"{folder}: no demo ({error}); give its folder with --demo") from error


def demo_recordings(folder: Path) -> Iterator[Recording]:
    """The recordings of `collection.txt`."""
    for name in demo_names(folder):
        yield Recording(name, Path(name).stem.removesuffix("_fast"), decode(folder / name))


def score_recordings(
    corpus: ScoreCorpus, *, soundfont: Path, works: int | None = None, transpose: bool = False, seed: int = 0
) -> Iterator[Recording]:
    """Audio of all versions of the works with two versions or more, one by one.

    soundfont: SF2 or SF3 file. works: only the first so many. transpose: each version in a random key,
    -6 to 6 semitones from its own; seed: of those.
    """
    generator = np.random.default_rng(seed)
    for songs in several_versions(corpus)[:works]:
        for song in songs.tolist():
            semitones = int(generator.integers(-6, 7)) if transpose else 0
            notes = score_notes(corpus.score(song), semitones=semitones)
            yield Recording(f"song {song}", f"work {songs[0]}", synthesise(notes, soundfont=soundfont))


def several_versions(corpus: ScoreCorpus) -> list[NDArray[np.int64]]:
    """Songs of each work that has two or more."""
    return [songs for songs in corpus.works if len(songs) > 1]


def score_notes(score: Score, *, semitones: int) -> Notes:
    """The score as written, in another key; notes that leave MIDI's range stay out."""
    pitch = score.pitch + semitones
    kept = (pitch >= 0) & (pitch < 128)
    return Notes(
        onset=score.onset[kept],
        duration=score.duration[kept],
        pitch=pitch[kept],
        velocity=np.minimum(score.velocity[kept], 127),
        program=score.program[score.part][kept],
    )


def to_clips(
    recordings: Iterable[Recording],
    *,
    front_end: FrontEndSettings,
    progress: Callable[[int], None] | None = None,
) -> list[Clip]:
    """CQT columns of recordings, one by one. progress: called with the number done."""
    clips = []
    for recording in recordings:
        clips.append(Clip(recording.name, recording.work, columns(recording.samples, settings=front_end)))
        if progress:
            progress(len(clips))
    return clips


def anthem_clips(path: Path, *, front_end: FrontEndSettings) -> tuple[list[Clip], NDArray[np.bool_]]:
    """Clips of `anthems.npz`, and which of them alignment confirms as versions of their clique.

    Raises EvaluationError if it is no such file, or its columns cannot be joined to those of front_end.
    """
    joined, rest = divmod(front_end.frames_per_column, ARCHIVE_FRAMES)
    if rest or not joined:
        raise EvaluationError(
            f"{path}: columns of {ARCHIVE_FRAMES} frames give none of {front_end.frames_per_column} frames"
        )
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        magnitude = 10 ** ((arrays["level"].astype(np.float32) / 2 - 120) / 20)
        works, names = (bytes(arrays[key]).decode().split("\n") for key in ("clique", "name"))
        ranges = np.lib.stride_tricks.sliding_window_view(arrays["recording_offset"].astype(np.int64), 2)
    except (OSError, KeyError, ValueError) as error:
        raise EvaluationError(f"{path}: not an anthems archive ({error})") from error
    clips = [
        Clip(name, work, _join_columns(magnitude[first:last].T, joined))
        for name, work, (first, last) in zip(names, works, ranges.tolist(), strict=True)
    ]
    return clips, arrays["confirmed"].astype(bool)


def cover_clips(path: Path, *, works: int | None = None, versions: int = 4) -> list[ProfileClip]:
    """Real covers of the validation works of `hpcp.npz`.

    works: only the first so many. versions: at most so many of each. Raises TrainingError if it is no such
    file.
    """
    corpus = ProfileCorpus.load(path, split="validation")
    return [
        ProfileClip(f"recording {recording}", f"work {recordings[0]}", corpus.profile(recording))
        for recordings in corpus.works[:works]
        for recording in recordings[:versions].tolist()
    ]


def _join_columns(magnitude: Array, count: int) -> Array:
    whole = magnitude.shape[1] // count
    return magnitude[:, : whole * count].reshape(len(magnitude), whole, count).mean(axis=2)
