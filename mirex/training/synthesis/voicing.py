"""Voicing: pitch-class profiles sounded by instruments, so that real covers can be learned as sound, too.

A profile tells which pitch classes sound in a step, but not their octaves or instruments. Here a bass, chords
and a high voice, each a General MIDI program in its own octaves, play all twelve classes at the levels of
the profile, and the power of their note patches (`mirex.training.synthesis.patches`) is summed. The result is
not music, but has what only real covers have: their order of sections, their chords, their breaks, and the
errors of their profiles.

For a recording, the octaves of the notes are known too; `sound_in_registers` keeps them.
"""

from typing import NamedTuple

import numpy as np

from mirex._typing import Array
from mirex.features.views import sharpen
from mirex.settings import BINS, BINS_PER_OCTAVE
from mirex.training.synthesis.patches import LOWEST_PITCH, PRE_FRAMES

SUSTAINED = slice(PRE_FRAMES, PRE_FRAMES + 10)  # patch frames: a note's first 0.93 s, as long as a step


class Part(NamedTuple):
    """Range of one of the instruments.

    Attributes
    ----------
    lowest : int
        MIDI pitch of its lowest C.
    octaves : int
        How many octaves it plays.
    programs : tuple of int
        The first of its General MIDI programs, and the one after the last.
    contrast : tuple of float
        Least and most; the higher, the fewer classes are heard besides the loudest.
    """

    lowest: int
    octaves: int
    programs: tuple[int, int]
    contrast: tuple[float, float]


BASS = Part(24, 2, (32, 40), (2.0, 5.0))
CHORDS = Part(48, 2, (0, 96), (1.0, 2.0))
VOICE = Part(60, 2, (40, 88), (1.5, 4.0))
LEVEL_SPREAD_DB = 6.0


class Register(NamedTuple):
    """A range of CQT bins whose peaks one of the parts plays.

    Attributes
    ----------
    bins : tuple of int
        The first, and the one after the last.
    part : Part
        What plays them.
    """

    bins: tuple[int, int]
    part: Part


# They overlap, so that notes between two are played by both.
REGISTERS = (Register((0, 30), BASS), Register((20, 56), CHORDS), Register((40, BINS), VOICE))


def sound(profile: Array, *, patches: Array, generator: np.random.Generator) -> Array:
    """Play a profile with instruments drawn at random.

    Parameters
    ----------
    profile : float32 [12, steps]
        In [0, 1]; row 0 is C.
    patches : float32 [129, 84, PATCH_FRAMES, 84]
        Power (`load_patches`).
    generator : numpy.random.Generator
        Draws programs, weights of octaves, contrasts and levels.

    Returns
    -------
    float32 [84, steps]
        Magnitudes.
    """
    power = np.zeros((patches.shape[-1], profile.shape[1]), np.float32)
    for part in (BASS, CHORDS, VOICE):
        spectra = _spectra(patches[int(generator.integers(*part.programs))], part, generator)
        contrast = generator.uniform(*part.contrast)
        level = 10 ** (generator.normal(0, LEVEL_SPREAD_DB) / 10)
        power += np.float32(level) * (spectra.T @ profile ** np.float32(2 * contrast))
    return np.sqrt(power)


def sound_in_registers(columns: Array, *, patches: Array, generator: np.random.Generator) -> Array:
    """Play a recording's notes, each at its own pitch, with instruments drawn at random.

    The peaks of the CQT, including overtones, count as notes. They are divided among three overlapping
    registers, which a bass, chords and a high voice play, each a General MIDI program.

    Parameters
    ----------
    columns : float32 [84, columns]
        Magnitudes.
    patches : float32 [129, 84, PATCH_FRAMES, 84]
        Power (`load_patches`).
    generator : numpy.random.Generator
        Draws programs, contrasts and levels.

    Returns
    -------
    float32 [84, columns]
        Magnitudes.
    """
    peaks = sharpen(columns, gain=0.0)
    loudest = max(float(peaks.max(initial=0.0)), 1e-30)
    power = np.zeros_like(peaks)
    for (first, last), part in REGISTERS:
        notes = patches[int(generator.integers(*part.programs))]
        spectra = notes[first:last, SUSTAINED].mean(axis=1)
        contrast = generator.uniform(0.7, 1.3)
        level = 10 ** (generator.normal(0, LEVEL_SPREAD_DB) / 10)
        heard = (peaks[first:last] / np.float32(loudest)) ** np.float32(2 * contrast)
        power += np.float32(level) * (spectra.T @ heard)
    return np.sqrt(power)


def _spectra(notes: Array, part: Part, generator: np.random.Generator) -> Array:
    """Mean power of the notes of each class, with randomly weighted octaves: float32 [12, 84].

    notes: one program's patches, float32 [84, PATCH_FRAMES, 84].
    """
    first = part.lowest - LOWEST_PITCH
    played = notes[first : first + BINS_PER_OCTAVE * part.octaves, SUSTAINED].mean(axis=1)
    weights = generator.dirichlet(np.ones(part.octaves)).astype(np.float32)
    return np.tensordot(weights, played.reshape(part.octaves, BINS_PER_OCTAVE, -1), axes=1)
