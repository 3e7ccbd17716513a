"""Note patches: what one note of a General MIDI program looks like to the front end.

For every program and every pitch 24-107, one note is played through FluidSynth and the ordinary
front end, and its CQT kept as a patch; for the percussion channel, one patch per key. Later, a version of a
song is the sum of its notes' patches in power (`mirex.training.synthesis.rendering`), which is hundreds
of times faster than audio.

A patch file is an .npz (no pickle) with `level` uint8 [129, 84, PATCH_FRAMES, 84]: program (128:
percussion), pitch - 24, time, bin; decibels = level / 2 - 120, 0 dB a tone of amplitude 1, level 0
silence. PRE_FRAMES frames come before the onset, since a constant-Q window reacts to a note before it starts.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mirex.corpora.archive import save_archive
from mirex.corpora.fluidsynth import DRUMS, Notes, synthesise
from mirex.errors import TrainingError
from mirex.features.cqt import columns
from mirex.settings import BINS, HOP, SAMPLE_RATE, FrontEndSettings
from mirex.untrusted import load_arrays

LOWEST_PITCH = 24
PITCHES = 84
FRAME_HOPS = 4  # a patch frame is the mean of 4 hops: 92.9 ms
FRAME_SECONDS = FRAME_HOPS * HOP / SAMPLE_RATE
PRE_FRAMES = 3
SUSTAIN_FRAMES = 26  # 2.4 s
PATCH_FRAMES = PRE_FRAMES + SUSTAIN_FRAMES
SPACING_FRAMES = 42  # leaves 1.3 s for the release, so that a note does not leak into the next patch
REFERENCE_LEVEL_DB = -26.0

PatchLevels = NDArray[np.uint8]


def make_patches(
    soundfont: Path,
    *,
    programs: range = range(DRUMS + 1),
    progress: Callable[[int, int], None] | None = None,
) -> PatchLevels:
    """Make the patches of a SoundFont.

    Every program is scaled to the same median energy; otherwise some would drown out the others.

    Parameters
    ----------
    soundfont : Path
        An SF2 or SF3 file.
    programs : range
        General MIDI programs; 128 is percussion.
    progress : callable, optional
        Called with (done, total) programs.

    Returns
    -------
    uint8 [len(programs), 84, PATCH_FRAMES, 84]

    Raises
    ------
    TrainingError
        If FluidSynth is missing or fails.
    MirexError
        If mido is missing.
    """
    if not soundfont.is_file():
        raise TrainingError(f"{soundfont}: no such file; give an SF2 or SF3 file")
    found = []
    for done, program in enumerate(programs):
        if progress:
            progress(done, len(programs))
        found.append(_program_patches(soundfont, program))
    if progress:
        progress(len(programs), len(programs))
    return np.stack(found)


def save_patches(levels: PatchLevels, *, path: Path) -> None:
    """Write a patch file, compressed.

    Parameters
    ----------
    levels : uint8 [129, 84, PATCH_FRAMES, 84]
        As `make_patches` gives them for all programs.
    path : Path
        The .npz file to write.

    Raises
    ------
    TrainingError
        If it cannot be written.
    """
    save_archive({"level": levels}, path=path)


def load_patches(path: Path) -> NDArray[np.float32]:
    """Read a patch file.

    Parameters
    ----------
    path : Path
        A file of `save_patches`.

    Returns
    -------
    float32 [129, 84, PATCH_FRAMES, 84]
        Power of program, pitch - 24, time and bin.

    Raises
    ------
    TrainingError
        If the file is not a patch file.
    """
    try:
        levels = load_arrays(path)["level"]
    except (OSError, KeyError, ValueError) as error:
        raise TrainingError(f"{path}: not a file of 'mirex patches' ({error})") from error
    if levels.shape != (DRUMS + 1, PITCHES, PATCH_FRAMES, BINS):
        raise TrainingError(
            f"{path}: patches have shape {levels.shape}; make them again with 'mirex patches'"
        )
    power = (10.0 ** ((np.arange(256) / 2 - 120) / 10)).astype(np.float32)
    power[0] = 0.0
    return power[levels]


def _program_patches(soundfont: Path, program: int) -> PatchLevels:
    count = np.arange(PITCHES)
    onset = (count * SPACING_FRAMES + 8) * np.float64(FRAME_SECONDS)
    notes = Notes(
        onset=onset,
        duration=np.full(PITCHES, SUSTAIN_FRAMES * FRAME_SECONDS),
        pitch=count + LOWEST_PITCH,
        velocity=np.full(PITCHES, 90),
        program=np.full(PITCHES, program),
    )
    audio = synthesise(notes, soundfont=soundfont)
    settings = FrontEndSettings(frames_per_column=FRAME_HOPS)
    needed = (PITCHES * SPACING_FRAMES + 8) * FRAME_HOPS * settings.hop
    audio = np.pad(audio[:needed], (0, max(0, needed - len(audio))))
    magnitude = columns(audio, settings=settings)
    starts = count * SPACING_FRAMES + 8 - PRE_FRAMES
    patches = np.stack([magnitude[:, s : s + PATCH_FRAMES].T for s in starts])
    return _quantise(_level(patches))


def _level(patches: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale so that the median note's loudest frame has REFERENCE_LEVEL_DB of total power."""
    energy = (patches.astype(np.float64) ** 2).sum(axis=2).max(axis=1)
    sounding = energy[energy > 1e-12]
    if sounding.size == 0:
        return patches
    return (patches * np.sqrt(10 ** (REFERENCE_LEVEL_DB / 10) / np.median(sounding))).astype(np.float32)


def _quantise(magnitude: NDArray[np.float32]) -> PatchLevels:
    decibels = 20 * np.log10(np.maximum(magnitude, 1e-9))
    return np.clip(np.round((decibels + 120) * 2), 0, 255).astype(np.uint8)
