"""Arrangement: from a score to the notes of a new version.

Every call makes a different version: transposition, tempo, start, parts kept or dropped, programs,
octaves, doublings, a melody unsteady in pitch like a voice, a new accompaniment from the chords, drums,
timing and velocity jitter. Sometimes one kind of instruments plays everything, as in a brass band, a choir
or on a piano. `strength` in [0, 1] scales how far a version may depart from the score, for a curriculum; at 0
it is the score.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from mirex.corpora.fluidsynth import DRUMS, Notes
from mirex.corpora.scores import Score
from mirex.training.augmentation.recolour import draw_key, draw_tempo

MAX_TEMPO = 1.4  # and down to 1 / 1.4
LONGEST_NOTE = 10.2
MELODIC_PROGRAMS = 104  # 0-103; higher ones are ethnic, percussive and sound effects
MODES = ("full", "thinned", "melody and chords", "melody and bass", "melody", "accompaniment")
FULL_WEIGHTS = np.array([0.30, 0.22, 0.30, 0.06, 0.06, 0.06])
ENSEMBLES = {  # General MIDI programs: the first, and the one after the last
    "piano": (0, 8),
    "organ": (16, 24),
    "guitar": (24, 32),
    "strings": (40, 52),
    "choir": (52, 55),
    "brass": (56, 64),
    "wind": (64, 80),
    "band": (56, 80),
    "orchestra": (40, 80),
}
MOST_BESIDE = 0.25  # of a sung note's power, on the key below and on the key above
KICK, SNARE, HAT = 36, 38, 42


class Excerpt(NamedTuple):
    """The part of a song to render; all times are seconds of the rendered music, not of the score.

    Attributes
    ----------
    duration : float
        Of the part, in seconds.
    whole : float
        Seconds of the excerpt that the part belongs to; `duration` if it is the whole excerpt.
    elapsed : float
        Seconds of that excerpt before the part.
    position : float
        Position of the excerpt in the song, from 0 (the beginning) to 1 (as late as it fits).
    """

    duration: float
    whole: float
    elapsed: float
    position: float


class Placement(NamedTuple):
    """Tempo, start and key of a version.

    Attributes
    ----------
    tempo : float
        Seconds of the score per second of music.
    start : float
        First second of the score.
    transposition : int
        Key shift, in semitones.
    """

    tempo: float
    start: float
    transposition: int


def arrange(
    score: Score,
    *,
    excerpt: Excerpt,
    strength: float,
    generator: np.random.Generator,
    transposition: int | None = None,
) -> Notes:
    """Arrange a new version of an excerpt.

    A song shorter than the excerpt is repeated.

    Parameters
    ----------
    score : Score
        Of the song.
    excerpt : Excerpt
        The part of the song to render.
    strength : float
        How far the version may depart from the score, in [0, 1]; at 0 it is the score.
    generator : numpy.random.Generator
        Draws the version.
    transposition : int, optional
        Semitones; drawn by default.

    Returns
    -------
    Notes
        Times are seconds from the start of the excerpt; notes may begin before 0.
    """
    placement = place(score, excerpt=excerpt, strength=strength, generator=generator)
    if transposition is not None:
        placement = placement._replace(transposition=transposition)
    window = _window(score, placement, excerpt.duration)
    melody = _melody(window)
    weights = strength * FULL_WEIGHTS + (1 - strength) * np.eye(len(MODES))[0]
    mode = MODES[generator.choice(len(MODES), p=weights)]
    notes = _select(window, melody, mode, generator)
    if mode == "melody and chords" and len(window.chord):
        notes = _join(notes, _accompaniment(window, generator))
    ensemble = generator.random() < 0.5 * strength
    notes = _sung(_doubled(notes, strength, generator), strength, generator)
    played = _reorchestrate(notes, ensemble, strength, generator)
    if generator.random() < (0.4 if ensemble else 0.8) * strength:
        played = _join_notes(played, _drums(window, generator))
    return _perform(played, placement, strength, generator)


def from_start(duration: float) -> Excerpt:
    """Make an excerpt from the beginning of a song.

    Parameters
    ----------
    duration : float
        Seconds of the excerpt.

    Returns
    -------
    Excerpt
        A whole one.
    """
    return Excerpt(duration, duration, 0.0, 0.0)


def place(score: Score, *, excerpt: Excerpt, strength: float, generator: np.random.Generator) -> Placement:
    """Draw tempo and key, and find the start.

    Parameters
    ----------
    score : Score
        Of the song.
    excerpt : Excerpt
        The part of the song to render.
    strength : float
        How far tempo and key may depart from the score, in [0, 1]; at 0 they are the score's.
    generator : numpy.random.Generator
        Draws tempo and key.

    Returns
    -------
    Placement
    """
    tempo = draw_tempo(most=MAX_TEMPO, strength=strength, generator=generator)
    length = float((score.onset + score.duration).max(initial=1.0))
    room = max(length - excerpt.whole * tempo, 0.0)
    start = (excerpt.position * room + excerpt.elapsed * tempo) % length
    transposition = draw_key(strength=strength, generator=generator)
    return Placement(tempo, start, transposition)


class _Layered(NamedTuple):
    """Notes with their layer (a part of the score, or a generated one)."""

    onset: NDArray[np.float64]
    duration: NDArray[np.float64]
    pitch: NDArray[np.int64]
    velocity: NDArray[np.int64]
    layer: NDArray[np.int64]
    program: NDArray[np.int64]
    melody: NDArray[np.bool_]


def _window(score: Score, placement: Placement, duration: float) -> Score:
    """The part of the score that sounds in the window, times from the window's start; repeated if short."""
    length = float((score.onset + score.duration).max(initial=1.0))
    wanted = duration * placement.tempo
    repeats = int(np.ceil((placement.start + wanted) / length))
    onset = np.concatenate([score.onset + i * length for i in range(repeats)]) - placement.start
    sounding = (onset < wanted) & (onset > -LONGEST_NOTE)
    sounding &= onset + np.tile(score.duration, repeats) > 0

    def take(values: NDArray) -> NDArray:
        return np.tile(values, repeats)[sounding]

    chord_time = np.concatenate([score.chord_time + i * length for i in range(repeats)]) - placement.start
    beat = np.concatenate([score.beat + i * length for i in range(repeats)]) - placement.start
    chords = (chord_time > -5) & (chord_time < wanted)
    return score._replace(
        onset=onset[sounding],
        duration=take(score.duration),
        pitch=take(score.pitch),
        velocity=take(score.velocity),
        part=take(score.part),
        chord_time=chord_time[chords],
        chord=np.tile(score.chord, repeats)[chords],
        beat=beat[(beat > -1) & (beat < wanted)],
    )


def _melody(score: Score) -> NDArray[np.bool_]:
    """Which notes are melody: those of the marked parts or, if none is marked, the highest line."""
    marked = score.melody[score.part] if len(score.part) else np.zeros(0, bool)
    if marked.sum() >= 0.02 * len(marked) and marked.any():
        return marked
    order = np.argsort(score.onset, kind="stable")
    top = np.zeros(len(order), bool)
    top[order] = _highest(score.onset[order], score.duration[order], score.pitch[order])
    return top


@njit(cache=True)
def _highest(onset, duration, pitch):
    """Which notes have no higher note sounding at their onset; arrays sorted by onset."""
    result = np.ones(len(onset), np.bool_)
    for i in range(len(onset)):
        j = i - 1
        while j >= 0 and onset[j] > onset[i] - 4.0:
            if pitch[j] > pitch[i] and onset[j] + duration[j] > onset[i] + 0.06:
                result[i] = False
                break
            j -= 1
        j = i + 1
        while result[i] and j < len(onset) and onset[j] < onset[i] + 0.06:
            if pitch[j] > pitch[i]:
                result[i] = False
            j += 1
    return result


def _select(score: Score, melody: NDArray[np.bool_], mode: str, generator: np.random.Generator) -> _Layered:
    """Keep the notes of the mode; the melody gets its own layers."""
    parts = len(score.program)
    keep = np.ones(len(score.onset), bool)
    if mode == "thinned":
        kept_part = generator.random(parts) < 0.5
        keep = melody | kept_part[score.part] if generator.random() < 0.8 else kept_part[score.part]
    elif mode in ("melody and chords", "melody"):
        keep = melody
    elif mode == "melody and bass":
        keep = melody | (score.pitch < 50)
    elif mode == "accompaniment":
        keep = ~melody
    if not keep.any():
        keep = np.ones(len(score.onset), bool)
    layer = score.part + parts * melody
    return _Layered(
        score.onset[keep],
        score.duration[keep],
        score.pitch[keep],
        score.velocity[keep],
        layer[keep],
        np.tile(score.program, 2),
        np.repeat([False, True], parts),
    )


def _accompaniment(score: Score, generator: np.random.Generator) -> _Layered:
    """Chords and bass from the chord track: block, arpeggio, strum on the beat, or off-beat."""
    start = score.chord_time
    length = np.diff(start, append=start[-1] + 2.0).clip(0.1, 4.0)
    root, minor = score.chord % 12, score.chord >= 12
    low = int(generator.integers(45, 60))
    tones = np.stack([root, root + 4 - minor, root + 7], axis=1)
    tones = low + (tones - low) % 12
    style = generator.integers(4)
    hits = 1 if style == 0 else int(generator.choice([2, 4]))
    when = start[:, None] + length[:, None] * (np.arange(hits) + (0.5 if style == 3 else 0.0)) / hits
    each = np.repeat(length / hits, hits)
    if style == 1:  # arpeggio: one tone after the other
        picked = np.arange(hits) % 3
        onset, pitch, duration = when.ravel(), tones[:, picked].ravel(), each
    else:
        onset = np.repeat(when.ravel(), 3)
        pitch = np.repeat(tones, hits, axis=0).ravel()
        duration = np.repeat(each, 3)
    bass = 28 + (root - 28) % 12
    onset = np.concatenate([onset, start])
    pitch = np.concatenate([pitch, bass])
    layer = np.concatenate([np.zeros(len(duration), np.int64), np.ones(len(start), np.int64)])
    return _Layered(
        onset,
        np.concatenate([duration, length]),
        pitch,
        np.full(len(onset), int(generator.integers(50, 90))),
        layer,
        np.array([generator.choice([0, 4, 16, 24, 25, 48, 89]), generator.choice([32, 33, 38, 43])]),
        np.zeros(2, bool),
    )


def _taken(notes: _Layered, which: NDArray[np.int64] | NDArray[np.bool_]) -> _Layered:
    """Select notes; the layers stay."""
    return notes._replace(
        onset=notes.onset[which],
        duration=notes.duration[which],
        pitch=notes.pitch[which],
        velocity=notes.velocity[which],
        layer=notes.layer[which],
    )


def _join(first: _Layered, second: _Layered) -> _Layered:
    shifted = second._replace(layer=second.layer + len(first.program))
    return _Layered(*(np.concatenate(pair) for pair in zip(first, shifted, strict=True)))


def _join_notes(first: Notes, second: Notes) -> Notes:
    return Notes(*(np.concatenate(pair) for pair in zip(first, second, strict=True)))


def _doubled(notes: _Layered, strength: float, generator: np.random.Generator) -> _Layered:
    """Double some layers an octave above or below, melody more often than the others."""
    layers = len(notes.program)
    doubled = generator.random(layers) < np.where(notes.melody, 0.4, 0.15) * strength
    octave = generator.choice([-12, 12], layers)
    second = _taken(notes, doubled[notes.layer])
    return _join(notes, second._replace(pitch=second.pitch + octave[second.layer]))


def _sung(notes: _Layered, strength: float, generator: np.random.Generator) -> _Layered:
    """Sometimes sing the melody: vibrato and drift put power on the keys next to a note."""
    if generator.random() >= 0.5 * strength:
        return notes
    count = len(notes.onset)
    sung = np.flatnonzero(notes.melody[notes.layer])
    shares = generator.uniform(0, MOST_BESIDE, (2, len(sung)))
    steady = np.ones(count)
    steady[sung] -= shares.sum(axis=0)
    power = np.concatenate([steady, *shares])
    semitones = np.repeat([0, -1, 1], [count, len(sung), len(sung)])
    result = _taken(notes, np.concatenate([np.arange(count), sung, sung]))
    # Power is proportional to the fourth power of velocity (`mirex.training.synthesis.rendering`).
    velocity = (result.velocity * power**0.25).astype(np.int64)
    return result._replace(pitch=result.pitch + semitones, velocity=velocity)


def _reorchestrate(notes: _Layered, ensemble: bool, strength: float, generator: np.random.Generator) -> Notes:
    """Draw a program, an octave and a level for every layer; for an ensemble, programs of one kind."""
    layers = len(notes.program)
    kind = (0, MELODIC_PROGRAMS)
    if ensemble:
        kind = list(ENSEMBLES.values())[generator.integers(len(ENSEMBLES))]
    renewed = generator.random(layers) < (1.0 if ensemble else 0.75 * strength)
    program = np.where(renewed, generator.integers(*kind, layers), notes.program)
    moved = generator.random(layers) < np.where(notes.melody, 0.35, 0.15) * strength
    octave = np.where(moved, generator.choice([-12, 12], layers), 0)
    gain = np.exp(generator.normal(0, 0.25 * strength, layers)) * np.where(notes.melody, 1.15, 1.0)
    velocity = np.clip(notes.velocity * gain[notes.layer], 8, 127).astype(np.int64)
    pitch = notes.pitch + octave[notes.layer]
    return Notes(notes.onset, notes.duration, pitch, velocity, program[notes.layer])


def _drums(score: Score, generator: np.random.Generator) -> Notes:
    """Kick and snare alternating on the beats, hi-hat in between; each may be missing."""
    beat = score.beat
    if len(beat) < 2:
        beat = np.arange(0.0, 180.0, 0.5)
    between = (beat[:-1] + beat[1:]) / 2
    layers = [(beat[0::2], KICK), (beat[1::2], SNARE), (np.concatenate([beat, between]), HAT)]
    layers = [layer for layer in layers if generator.random() < 0.8]
    if not layers:
        return Notes(*(np.zeros(0, kind) for kind in (float, float, np.int64, np.int64, np.int64)))
    onset = np.concatenate([times for times, _ in layers])
    pitch = np.concatenate([np.full(len(times), key) for times, key in layers])
    count = len(onset)
    velocity = np.full(count, int(generator.integers(40, 110)))
    return Notes(onset, np.full(count, 0.1), pitch, velocity, np.full(count, DRUMS))


def _perform(notes: Notes, placement: Placement, strength: float, generator: np.random.Generator) -> Notes:
    """Tempo, key, and the small irregularities of a performance."""
    count = len(notes.onset)
    onset = notes.onset / placement.tempo + generator.normal(0, 0.025 * strength, count)
    legato = np.exp(generator.normal(0, 0.3 * strength))
    velocity = notes.velocity * np.exp(generator.normal(0, 0.12 * strength, count))
    shift = np.where(notes.program == DRUMS, 0, placement.transposition)
    return Notes(
        onset,
        notes.duration / placement.tempo * legato,
        notes.pitch + shift,
        np.clip(velocity, 8, 127).astype(np.int64),
        notes.program,
    )
