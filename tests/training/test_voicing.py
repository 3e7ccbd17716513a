"""Voicing: profiles sounded for the CQT view, against a loop over notes and by what is heard."""

import numpy as np
import pytest

import made_corpus
from mirex.training.synthesis.patches import LOWEST_PITCH, PATCH_FRAMES, PRE_FRAMES
from mirex.training.synthesis.voicing import (
    BASS,
    CHORDS,
    LEVEL_SPREAD_DB,
    REGISTERS,
    VOICE,
    sound,
    sound_in_registers,
)

HEARD = PRE_FRAMES + 10


@pytest.fixture(scope="module")
def patches():
    return made_corpus.patches()


def _note_by_note(profile, patches, generator):
    """Every note of every part by itself, with the draws in the order that `sound` makes them."""
    power = np.zeros((84, profile.shape[1]))
    for part in (BASS, CHORDS, VOICE):
        program = int(generator.integers(*part.programs))
        weights = generator.dirichlet(np.ones(part.octaves))
        contrast = generator.uniform(*part.contrast)
        level = 10 ** (generator.normal(0, LEVEL_SPREAD_DB) / 10)
        for octave in range(part.octaves):
            for pitch_class in range(12):
                patch = patches[program, part.lowest - LOWEST_PITCH + 12 * octave + pitch_class]
                note = sum(patch[frame] for frame in range(PRE_FRAMES, HEARD)) / 10
                for step in range(profile.shape[1]):
                    loudness = (profile[pitch_class, step] ** contrast) ** 2
                    power[:, step] += level * weights[octave] * note * loudness
    return np.sqrt(power)


@pytest.mark.parametrize("seed", range(3))
def test_every_class_is_played_by_every_part_as_loud_as_the_profile_has_it(rng, seed):
    programs_differ = rng.random((129, 84, PATCH_FRAMES, 84), dtype=np.float32)
    profile = rng.random((12, 5), dtype=np.float32)
    sounded = sound(profile, patches=programs_differ, generator=np.random.default_rng(seed))
    wanted = _note_by_note(profile, programs_differ, np.random.default_rng(seed))
    assert sounded.shape == (84, 5)
    assert sounded.dtype == np.float32
    np.testing.assert_allclose(sounded, wanted, rtol=1e-4)


def test_a_single_class_sounds_as_its_notes_and_their_overtones(patches):
    for pitch_class in range(12):
        profile = np.zeros((12, 2), np.float32)
        profile[pitch_class, 0] = 1
        sounded = sound(profile, patches=patches, generator=np.random.default_rng(pitch_class))
        classes = {int(each) % 12 for each in np.flatnonzero(sounded[:, 0])}
        assert classes == {pitch_class, (pitch_class + 7) % 12}, "octaves, and the third partial's fifth"
        assert sounded[:, 0].argmax() % 12 == pitch_class
        assert not sounded[:, 1].any(), "silence stays silent"


def test_what_is_louder_in_the_profile_is_louder_in_every_octave(patches, rng):
    profile = np.zeros((12, 1), np.float32)
    profile[[0, 2]] = [[1.0], [0.5]]
    sounded = sound(profile, patches=patches, generator=rng)[:, 0]
    loud, quiet = sounded[0:84:12], sounded[2:84:12]
    assert (loud > 0).sum() >= 5
    assert (loud[loud > 0] > quiet[loud > 0]).all()


def test_instruments_are_drawn_by_the_generator_alone(patches, rng):
    profile = rng.random((12, 9), dtype=np.float32)
    first, again, other = (
        sound(profile, patches=patches, generator=np.random.default_rng(seed)).tobytes() for seed in (1, 1, 2)
    )
    assert first == again != other


@pytest.mark.parametrize("seed", range(3))
def test_peaks_are_played_at_their_height_by_the_part_of_their_register(rng, seed):
    """Against a loop over notes, with the draws in the order that `sound_in_registers` makes them."""
    programs_differ = rng.random((129, 84, PATCH_FRAMES, 84), dtype=np.float32)
    columns = rng.random((84, 3), dtype=np.float32)
    found = sound_in_registers(columns, patches=programs_differ, generator=np.random.default_rng(seed))
    generator = np.random.default_rng(seed)
    below, above = np.pad(columns, ((1, 0), (0, 0)))[:-1], np.pad(columns, ((0, 1), (0, 0)))[1:]
    peaks = np.where((columns >= below) & (columns >= above), columns, 0.0)
    power = np.zeros((84, 3))
    for (first, last), part in REGISTERS:
        program = int(generator.integers(*part.programs))
        contrast = generator.uniform(0.7, 1.3)
        level = 10 ** (generator.normal(0, LEVEL_SPREAD_DB) / 10)
        for pitch in range(first, last):
            note = programs_differ[program, pitch, PRE_FRAMES:HEARD].mean(axis=0)
            for step in range(3):
                power[:, step] += level * note * (peaks[pitch, step] / peaks.max()) ** (2 * contrast)
    np.testing.assert_allclose(found, np.sqrt(power), rtol=1e-4)


def test_registers_are_kept_and_overlap(patches, rng):
    assert REGISTERS[0].bins[0] == 0
    assert REGISTERS[-1].bins[1] == 84
    for lower, higher in zip(REGISTERS, REGISTERS[1:], strict=False):
        assert lower.bins[0] < higher.bins[0] < lower.bins[1] < higher.bins[1]
    for note in (3, 25, 50, 70):
        columns = np.zeros((84, 2), np.float32)
        columns[note, 0] = 0.01
        sounded = sound_in_registers(columns, patches=patches, generator=rng)
        assert sounded[:, 0].argmax() == note
        assert not sounded[:note, 0].any()
        assert not sounded[:, 1].any(), "silence stays silent"
    assert not sound_in_registers(np.zeros((84, 3), np.float32), patches=patches, generator=rng).any()
