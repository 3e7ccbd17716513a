"""Test sets of the accuracy benchmarks that are made of audio; `mirex.corpora.clips` reads the others.

`scores`: human-made versions of the validation works of `scores.npz`, each in its own tempo, played by
FluidSynth with a SoundFont that training has not heard, through the real front end. `demo`: the demo
recordings; `x_fast.ogg` is another version of `x.ogg`.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mirex._typing import Array
from mirex.corpora.clips import Clip
from mirex.corpora.fluidsynth import Notes, synthesise
from mirex.corpora.scores import Score, ScoreCorpus
from mirex.errors import EvaluationError
from mirex.features.audio import decode
from mirex.features.cqt import columns
from mirex.settings import FrontEndSettings


class Recording(NamedTuple):
    """A recording of a test set.

    Attributes
    ----------
    name : str
        Unique in its set.
    work : str
        Its clique.
    samples : float32 [samples]
        At 22,050 Hz.
    """

    name: str
    work: str
    samples: Array


def demo_names(folder: Path) -> list[str]:
    """Read the file names in `collection.txt`.

    Parameters
    ----------
    folder : Path
        Of the demo.

    Returns
    -------
    list of str

    Raises
    ------
    EvaluationError
        If the list cannot be read.
    """
    try:
        return (folder / "collection.txt").read_text("utf-8").split()
    except OSError as error:
        raise EvaluationError(f"{folder}: not the demo ({error}); give its folder with --demo") from error


def demo_recordings(folder: Path) -> Iterator[Recording]:
    """Decode the recordings of `collection.txt`, one by one.

    Parameters
    ----------
    folder : Path
        Of the demo.

    Yields
    ------
    Recording

    Raises
    ------
    EvaluationError
        If the list cannot be read.
    AudioError
        If a recording cannot be decoded.
    """
    for name in demo_names(folder):
        yield Recording(name, Path(name).stem.removesuffix("_fast"), decode(folder / name))


def score_recordings(
    corpus: ScoreCorpus, *, soundfont: Path, works: int | None = None, transpose: bool = False, seed: int = 0
) -> Iterator[Recording]:
    """Synthesise all versions of the works with two versions or more, one by one.

    Parameters
    ----------
    corpus : ScoreCorpus
        The scores.
    soundfont : Path
        SF2 or SF3 file.
    works : int, optional
        Only the first works, this many.
    transpose : bool
        Move each version to a random key, -6 to 6 semitones from its own.
    seed : int
        Of the keys.

    Yields
    ------
    Recording
    """
    generator = np.random.default_rng(seed)
    for songs in several_versions(corpus)[:works]:
        for song in songs.tolist():
            semitones = int(generator.integers(-6, 7)) if transpose else 0
            notes = score_notes(corpus.score(song), semitones=semitones)
            yield Recording(f"song {song}", f"work {songs[0]}", synthesise(notes, soundfont=soundfont))


def several_versions(corpus: ScoreCorpus) -> list[NDArray[np.int64]]:
    """List the songs of each work that has two or more.

    Parameters
    ----------
    corpus : ScoreCorpus
        The scores.

    Returns
    -------
    list of int64 [songs]
        Song numbers, one array per work.
    """
    return [songs for songs in corpus.works if len(songs) > 1]


def score_notes(score: Score, *, semitones: int) -> Notes:
    """Take the notes of a score as written, in another key.

    Parameters
    ----------
    score : Score
        A song.
    semitones : int
        Added to every pitch. Notes that leave MIDI's range are left out.

    Returns
    -------
    Notes
    """
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
    """Compute the CQT columns of recordings, one by one.

    Parameters
    ----------
    recordings : iterable of Recording
        Read once.
    front_end : FrontEndSettings
        Of the columns.
    progress : callable, optional
        Called with the number of recordings done.

    Returns
    -------
    list of Clip
    """
    clips = []
    for recording in recordings:
        clips.append(Clip(recording.name, recording.work, columns(recording.samples, settings=front_end)))
        if progress:
            progress(len(clips))
    return clips
