"""Rendering: notes to CQT columns without audio, by adding note patches in power.

Sounds of different notes have unrelated phases, so their powers add on average. A note longer than
its patch continues to fade as in the patch's last second; a note that ends is released over a few frames.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from mirex.corpora.fluidsynth import Notes
from mirex.settings import BINS
from mirex.training.synthesis.patches import FRAME_SECONDS, LOWEST_PITCH, PATCH_FRAMES, PITCHES, PRE_FRAMES

FRAMES_PER_COLUMN = 5  # patch frames: 20 hops
REFERENCE_VELOCITY = 90.0
MARGIN_BINS = 3  # a note's power below its fundamental that is kept


def render(
    notes: Notes,
    *,
    patches: NDArray[np.float32],
    columns: int,
    release: float = 0.2,
) -> NDArray[np.float32]:
    """Render notes as CQT columns.

    Parameters
    ----------
    notes : Notes
        Times in seconds from the first column.
    patches : float32 [programs, 84, PATCH_FRAMES, 84]
        Power, as `load_patches` gives it: one array, which holds every program of the notes.
    columns : int
        Number of columns to render.
    release : float
        Factor in power from one patch frame (93 ms) to the next after a note's end, in [0, 1).

    Returns
    -------
    float32 [84, columns]
        Magnitudes, as `mirex.features.cqt` gives them.
    """
    frames = columns * FRAMES_PER_COLUMN
    power = np.zeros((frames, BINS), np.float32)
    first = np.floor(notes.onset / FRAME_SECONDS + 0.5).astype(np.int64) - PRE_FRAMES
    length = np.maximum(np.round(notes.duration / FRAME_SECONDS), 1).astype(np.int64) + PRE_FRAMES
    # FluidSynth's velocity curve: amplitude is proportional to the square of the velocity.
    gain = ((notes.velocity / REFERENCE_VELOCITY) ** 4).astype(np.float32)
    _add(power, first, length, notes.pitch - LOWEST_PITCH, notes.program, gain, patches, np.float32(release))
    magnitude = np.sqrt(power).reshape(columns, FRAMES_PER_COLUMN, BINS).mean(axis=1)
    return np.ascontiguousarray(magnitude.T)


@njit(cache=True, fastmath=True)
def _add(power, first, length, pitch, program, gain, patches, release):
    frames = power.shape[0]
    for n in range(len(first)):
        if pitch[n] < 0 or pitch[n] >= PITCHES:
            continue
        patch = patches[program[n], pitch[n]]
        low = 0 if program[n] == 128 else max(pitch[n] - MARGIN_BINS, 0)
        fade = np.float32(1.0)
        total = np.float32(0.0)
        late = np.float32(0.0)
        for b in range(low, BINS):
            total += patch[PATCH_FRAMES - 9, b]
            late += patch[PATCH_FRAMES - 1, b]
        decay = np.float32(1.0)
        if total > 0:
            decay = min(np.float32(1.0), (late / total) ** np.float32(0.125))
        for t in range(length[n] + 4):
            frame = first[n] + t
            if frame >= frames:
                break
            if t >= PATCH_FRAMES:
                fade *= decay
            if t >= length[n]:
                fade *= release
            if frame < 0:
                continue
            scale = gain[n] * fade
            source = patch[min(t, PATCH_FRAMES - 1)]
            for b in range(low, BINS):
                power[frame, b] += scale * source[b]
