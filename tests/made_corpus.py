"""A small training corpus made by code, in the formats of the real one, and patches of pure harmonics."""

from pathlib import Path

import numpy as np

PROGRAMS = 129


def write_scores(path: Path, *, works: int = 8, versions: int = 2, seed: int = 0) -> None:
    """Songs of one melody a work over a chord sequence; the last two works are for validation."""
    generator = np.random.default_rng(seed)
    columns: dict[str, list] = {name: [] for name in ("onset", "duration", "pitch", "velocity")}
    parts, lengths, chords, chord_times, beats, song_work, song_split = [], [], [], [], [], [], []
    offsets = {"part": [0], "chord": [0], "beat": [0]}
    for work in range(works):
        melody = generator.integers(60, 80, 60)
        roots = generator.integers(0, 12, 15)
        for _ in range(versions):
            for line in (melody, np.repeat(36 + roots, 4)):
                columns["onset"] += [0] + [25] * (len(line) - 1)
                columns["duration"] += [10] * len(line)
                columns["pitch"] += line.tolist()
                columns["velocity"] += [5] * len(line)
                lengths.append(len(line))
            parts += [(int(generator.integers(0, 100)), 1), (32, 0)]
            chords += roots.tolist()
            chord_times += [0] + [100] * (len(roots) - 1)
            beats += [0] + [25] * 59
            offsets["part"].append(len(parts))
            offsets["chord"].append(len(chords))
            offsets["beat"].append(len(beats))
            song_work.append(work)
            song_split.append(int(work >= works - 2))
    np.savez(
        path,
        song_work=np.array(song_work, np.uint32),
        song_split=np.array(song_split, np.uint8),
        song_part_offset=np.array(offsets["part"], np.uint32),
        part_program=np.array([p for p, _ in parts], np.uint8),
        part_is_melody=np.array([m for _, m in parts], np.uint8),
        part_length=np.array(lengths, np.uint32),
        note_onset_delta=np.array(columns["onset"], np.uint16),
        note_duration=np.array(columns["duration"], np.uint8),
        note_pitch=np.array(columns["pitch"], np.uint8),
        note_velocity=np.array(columns["velocity"], np.uint8),
        song_chord_offset=np.array(offsets["chord"], np.uint32),
        chord=np.array(chords, np.uint8),
        chord_time_delta=np.array(chord_times, np.uint16),
        song_beat_offset=np.array(offsets["beat"], np.uint32),
        beat_time_delta=np.array(beats, np.uint16),
    )


def write_chroma(path: Path, *, works: int = 6, versions: int = 3, seed: int = 0) -> None:
    """Pitch-class profiles; the last two works are for validation. Versions differ in key by a class each."""
    generator = np.random.default_rng(seed)
    recordings = []
    for _ in range(works):
        profile = generator.integers(0, 16, (12, 70)).astype(np.uint8)
        recordings += [np.roll(profile, shift, axis=0) for shift in range(versions)]
    np.savez(
        path,
        hpcp=np.concatenate(recordings, axis=1),
        recording_offset=np.cumsum([0] + [r.shape[1] for r in recordings]).astype(np.uint32),
        recording_work=np.repeat(np.arange(works), versions).astype(np.uint32),
        recording_split=np.repeat((np.arange(works) >= works - 2).astype(np.uint8), versions),
    )


def patches() -> np.ndarray:
    """Power of harmonics that fade: float32 [129, 84, 29, 84], the same for all programs."""
    one = np.zeros((84, 29, 84), np.float32)
    fade = np.exp(-0.1 * np.maximum(np.arange(29) - 3, 0)) * (np.arange(29) >= 3)
    for pitch in range(84):
        for order, place in enumerate((0, 12, 19, 24)):
            if pitch + place < 84:
                one[pitch, :, pitch + place] = 1e-3 * 0.4**order * fade
    return np.broadcast_to(one, (PROGRAMS, *one.shape))


class Columns:
    """Recordings of works by their columns, as `mirex.training.sources.Recordings`."""

    def __init__(self, works: list[list[np.ndarray]]) -> None:
        self._columns = [columns for work in works for columns in work]
        self.works = np.split(np.arange(len(self._columns)), np.cumsum([len(work) for work in works])[:-1])

    def columns(self, recording: int, *, generator: np.random.Generator) -> np.ndarray:
        """The whole recording."""
        return self._columns[recording]
