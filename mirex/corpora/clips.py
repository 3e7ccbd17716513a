"""Clips: recordings, each with the work that it is a version of, for networks and baselines.

`anthem_clips`: real recordings of `anthems.npz`. `pop_clips`: real recordings of the validation split of
`recordings.npz`, which are pairs of versions and distractors. `cover_clips`: real covers as pitch-class
profiles, of the validation works of `hpcp.npz`.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mirex._typing import Array
from mirex.corpora.cqt_levels import LevelCorpus
from mirex.corpora.profiles import ProfileCorpus
from mirex.errors import EvaluationError
from mirex.settings import FrontEndSettings
from mirex.untrusted import load_arrays

ARCHIVE_FRAMES = 10  # CQT frames in a column of anthems.npz
LEVEL_FRAMES = 20  # in a column of recordings.npz


class Clip(NamedTuple):
    """A recording as CQT columns.

    Attributes
    ----------
    name : str
        Unique in its set.
    work : str
        Its clique.
    columns : float32 [84, columns]
        Magnitudes.
    """

    name: str
    work: str
    columns: Array


class ProfileClip(NamedTuple):
    """A recording as a pitch-class profile.

    Attributes
    ----------
    name : str
        Unique in its set.
    work : str
        Its clique.
    profile : float32 [12, steps]
        In 0..1, in steps of 0.93 s.
    """

    name: str
    work: str
    profile: Array


def anthem_clips(path: Path, *, front_end: FrontEndSettings) -> tuple[list[Clip], NDArray[np.bool_]]:
    """Read the clips of `anthems.npz`.

    Parameters
    ----------
    path : Path
        The archive.
    front_end : FrontEndSettings
        The archive's columns are averaged to those of this front end.

    Returns
    -------
    clips : list of Clip
        In the archive's order.
    confirmed : bool [clips]
        Which of them alignment confirms as versions of their clique.

    Raises
    ------
    EvaluationError
        If the file is of another kind, or its columns do not fit those of `front_end`.
    """
    joined = _joined(path, ARCHIVE_FRAMES, front_end)
    try:
        arrays = load_arrays(path)
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


def pop_clips(
    path: Path, *, front_end: FrontEndSettings, seed: int = 0
) -> tuple[list[Clip], NDArray[np.bool_]]:
    """Read the clips of the validation split of `recordings.npz`.

    Parameters
    ----------
    path : Path
        The archive.
    front_end : FrontEndSettings
        The archive's columns are averaged to those of this front end.
    seed : int
        Of the dither that replaces the rounded digits of the levels; each recording has its own draws, which
        do not depend on the others.

    Returns
    -------
    clips : list of Clip
        Named "recording N: artist - title".
    paired : bool [clips]
        Which of them have another version in the split; the others are distractors.

    Raises
    ------
    EvaluationError
        If its columns do not fit those of `front_end`.
    TrainingError
        If the file is of another kind.
    """
    joined = _joined(path, LEVEL_FRAMES, front_end)
    corpus = LevelCorpus.load(path, split="validation")
    clips, paired = [], []
    sizes = {corpus.work(versions[0]): len(versions) for versions in corpus.works}
    for recording in corpus.recordings.tolist():
        columns = corpus.columns(recording, generator=np.random.default_rng([seed, recording]))
        title = " ".join(corpus.names[recording].split())
        work = corpus.work(recording)
        clips.append(Clip(f"recording {recording}: {title}", f"work {work}", _join_columns(columns, joined)))
        paired.append(sizes[work] > 1)
    return clips, np.array(paired, bool)


def cover_clips(path: Path, *, works: int | None = None, versions: int | None = 4) -> list[ProfileClip]:
    """Read real covers of the validation works of `hpcp.npz`.

    Parameters
    ----------
    path : Path
        The archive.
    works : int, optional
        Only this many works, from the first on; all by default.
    versions : int, optional
        At most this many versions of each; all by default.

    Returns
    -------
    list of ProfileClip

    Raises
    ------
    TrainingError
        If the file is of another kind.
    """
    corpus = ProfileCorpus.load(path, split="validation")
    return [
        ProfileClip(f"recording {recording}", f"work {recordings[0]}", corpus.profile(recording))
        for recordings in corpus.works[:works]
        for recording in recordings[:versions].tolist()
    ]


def _joined(path: Path, frames: int, front_end: FrontEndSettings) -> int:
    """How many of the archive's columns make one of the front end's."""
    joined, rest = divmod(front_end.frames_per_column, frames)
    if rest or not joined:
        raise EvaluationError(
            f"{path}: columns of {frames} frames cannot be averaged to {front_end.frames_per_column} frames"
        )
    return joined


def _join_columns(magnitude: Array, count: int) -> Array:
    whole = magnitude.shape[1] // count
    return magnitude[:, : whole * count].reshape(len(magnitude), whole, count).mean(axis=2)
