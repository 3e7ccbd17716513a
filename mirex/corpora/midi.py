"""MIDI files to scores, for the user's own archives.

Read with `mido`. Times come from the file's tempo map. A part is everything that one track plays with one
program; percussion is left out. A part is a melody if its track's name says so. Chords are estimated, one per
two beats: the major or minor triad whose classes sound most, and the others least.
"""

import dataclasses
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mirex.corpora.scores import LONGEST, Score
from mirex.errors import MirexError, TrainingError
from mirex.extras import how_to_install

DRUM_CHANNEL = 9
MELODY_NAMES = ("melod", "vocal", "vox", "voice", "lead", "sing")
BEATS_PER_CHORD = 2
OUTSIDE = 0.5  # cost of a class outside the triad; one inside counts 1


def read_midi(path: Path) -> Score:
    """Read the notes, chords and beats of a Standard MIDI File.

    Parameters
    ----------
    path : Path
        Of format 0 or 1, timed in beats.

    Returns
    -------
    Score
        At most the first 180 s; velocities 1 to 127.

    Raises
    ------
    TrainingError
        If it cannot be read, or has no notes except percussion.
    MirexError
        If mido is not installed.
    """
    try:
        import mido
    except ImportError as error:
        raise MirexError(f"mido: not installed; {how_to_install('train')}") from error
    try:
        file = mido.MidiFile(path, clip=True)
    except (OSError, EOFError, ValueError, KeyError, IndexError) as error:
        reason = str(error) or type(error).__name__
        raise TrainingError(f"{path}: not a readable MIDI file ({reason})") from error
    if file.ticks_per_beat <= 0 or file.type == 2:
        raise TrainingError(
            f"{path}: a MIDI file of format 2, or timed in frames; give one of format 0 or 1, timed in beats"
        )
    tempi = _tempo_map(file.tracks, file.ticks_per_beat)
    parts = [part for track in file.tracks for part in _parts(track)]
    if not parts:
        raise TrainingError(f"{path}: has no notes except percussion")
    return _score(parts, tempi, file.ticks_per_beat)


@dataclasses.dataclass(frozen=True)
class _Part:
    """Notes: (first tick, last tick, pitch, velocity) each."""

    program: int
    melody: bool
    notes: list[tuple[int, int, int, int]]


@dataclasses.dataclass(frozen=True)
class _Tempi:
    """Where the tempo changes, and the length of a tick from there on."""

    ticks: NDArray[np.float64]
    seconds: NDArray[np.float64]
    seconds_per_tick: NDArray[np.float64]

    def at(self, ticks: NDArray[np.float64]) -> NDArray[np.float64]:
        """Convert ticks to seconds.

        Parameters
        ----------
        ticks : float64 [n]
            From the start of the file.

        Returns
        -------
        float64 [n]
            In seconds.
        """
        place = np.searchsorted(self.ticks, ticks, side="right") - 1
        return self.seconds[place] + (ticks - self.ticks[place]) * self.seconds_per_tick[place]


def _tempo_map(tracks: list, ticks_per_beat: int) -> _Tempi:
    changes = {0: 500_000}  # microseconds a beat: MIDI's default
    for track in tracks:
        tick = 0
        for message in track:
            tick += message.time
            if message.type == "set_tempo":
                changes[tick] = message.tempo
    ticks = np.array(sorted(changes), np.float64)
    per_tick = np.array([changes[tick] for tick in sorted(changes)]) / 1e6 / ticks_per_beat
    seconds = np.concatenate([[0.0], np.cumsum(np.diff(ticks) * per_tick[:-1])])
    return _Tempi(ticks, seconds, per_tick)


def _parts(track: list) -> list[_Part]:
    """The parts that a track plays, one for each of its programs."""
    name = " ".join(m.name for m in track if m.type == "track_name").casefold()
    melody = any(word in name for word in MELODY_NAMES)
    programs: dict[int, int] = {}
    sounding: dict[tuple[int, int], list[tuple[int, int, int]]] = {}
    found: dict[int, list[tuple[int, int, int, int]]] = {}
    tick = 0
    for message in track:
        tick += message.time
        if message.type == "program_change":
            programs[message.channel] = message.program
        if message.type not in ("note_on", "note_off") or message.channel == DRUM_CHANNEL:
            continue
        key = (message.channel, message.note)
        if message.type == "note_on" and message.velocity > 0:
            program = programs.get(message.channel, 0)
            sounding.setdefault(key, []).append((tick, message.velocity, program))
        elif sounding.get(key):
            start, velocity, program = sounding[key].pop(0)
            found.setdefault(program, []).append((start, tick, message.note, velocity))
    for (_, note), open_notes in sounding.items():
        for start, velocity, program in open_notes:
            found.setdefault(program, []).append((start, tick, note, velocity))
    return [_Part(program, melody, sorted(notes)) for program, notes in sorted(found.items())]


def _score(parts: list[_Part], tempi: _Tempi, ticks_per_beat: int) -> Score:
    table = np.array([note for part in parts for note in part.notes], np.float64)
    part = np.repeat(np.arange(len(parts)), [len(each.notes) for each in parts])
    onset, end = tempi.at(table[:, 0]), tempi.at(table[:, 1])
    last = int(table[:, 1].max())
    beat = tempi.at(np.arange(0, last + 1, ticks_per_beat, dtype=np.float64))
    kept = onset < LONGEST
    onset, duration = onset[kept], (np.minimum(end, LONGEST) - onset)[kept]
    pitch, velocity = (table[kept, column].astype(np.int64) for column in (2, 3))
    beat = beat[beat < LONGEST]
    chord_time = beat[::BEATS_PER_CHORD]
    weight = duration * velocity
    return Score(
        onset=onset,
        duration=duration,
        pitch=pitch,
        velocity=velocity,
        part=part[kept],
        program=np.array([each.program for each in parts], np.int64),
        melody=np.array([each.melody for each in parts]),
        chord_time=chord_time,
        chord=estimate_chords(onset, onset + duration, pitch, weight, times=chord_time),
        beat=beat,
    )


def estimate_chords(
    onset: NDArray[np.float64],
    end: NDArray[np.float64],
    pitch: NDArray[np.int64],
    weight: NDArray[np.float64],
    *,
    times: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Estimate the best-fitting triad from each time to the next.

    Parameters
    ----------
    onset, end : float64 [notes]
        Seconds.
    pitch : int64 [notes]
        MIDI.
    weight : float64 [notes]
        How much a note counts, in proportion to its time in the interval.
    times : float64 [chords]
        Where each chord begins, ascending.

    Returns
    -------
    int64 [chords]
        0-11 major on C..B, 12-23 minor. Silence has the chord before it; 0 if there is none.
    """
    ends = np.append(times[1:], np.inf)
    length = np.maximum(end - onset, 1e-3)
    chroma = np.zeros((12, len(times)))
    for note in range(len(onset)):
        shared = np.clip(np.minimum(end[note], ends) - np.maximum(onset[note], times), 0.0, None)
        chroma[pitch[note] % 12] += weight[note] * shared / length[note]
    triads = np.full((24, 12), -OUTSIDE)
    for root in range(12):
        triads[root, [root, (root + 4) % 12, (root + 7) % 12]] = 1.0
        triads[12 + root, [root, (root + 3) % 12, (root + 7) % 12]] = 1.0
    best = (triads @ chroma).argmax(axis=0)
    sounding = np.where(chroma.any(axis=0), np.arange(len(times)), -1)
    latest = np.maximum.accumulate(sounding) if len(times) else sounding
    return np.where(latest >= 0, best[latest], 0).astype(np.int64)
