"""Notes to audio by FluidSynth: for note patches, for checking the renderer, for the score test set.

FluidSynth (the system's `fluidsynth` program) is called on Standard MIDI Files that `mido` writes.
Reverb and chorus are off, so that a note's sound does not depend on its neighbours.
"""

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mirex.errors import TrainingError
from mirex.extras import need
from mirex.features.audio import decode
from mirex.settings import SAMPLE_RATE

TICKS_PER_SECOND = 960
DRUM_CHANNEL = 9
DRUMS = 128  # program number for the percussion channel


class Notes(NamedTuple):
    """Notes in parallel arrays.

    Attributes
    ----------
    onset, duration : float64 [notes]
        Seconds.
    pitch : int64 [notes]
        MIDI, 0 to 127; a percussion key where program is DRUMS.
    velocity : int64 [notes]
        1 to 127.
    program : int64 [notes]
        General MIDI, 0 to 127, or DRUMS.
    """

    onset: NDArray[np.float64]
    duration: NDArray[np.float64]
    pitch: NDArray[np.int64]
    velocity: NDArray[np.int64]
    program: NDArray[np.int64]


def synthesise(notes: Notes, *, soundfont: Path, gain: float = 0.4) -> NDArray[np.float32]:
    """Synthesise notes as mono audio.

    Parameters
    ----------
    notes : Notes
        At most 15 programs sound at once; further ones share channels, in the order of their first notes.
    soundfont : Path
        An SF2 or SF3 file.
    gain : float
        FluidSynth's master gain.

    Returns
    -------
    float32 [samples]
        At 22,050 Hz.

    Raises
    ------
    TrainingError
        If FluidSynth is missing or fails.
    MirexError
        If mido is not installed.
    """
    program = shutil.which("fluidsynth")
    if program is None:
        raise TrainingError("fluidsynth: not found on PATH; install the system package 'fluidsynth'")
    with tempfile.TemporaryDirectory() as folder:
        midi, wave = Path(folder, "notes.mid"), Path(folder, "notes.wav")
        write_midi(notes, path=midi)
        command = [program, "-ni", "-q", "-R", "0", "-C", "0", "-g", str(gain)]
        command += ["-r", str(SAMPLE_RATE), "-O", "s16"]
        # Samples are read when a note needs them; otherwise all of an SF3 would be decoded.
        command += ["-o", "synth.dynamic-sample-loading=1"]
        done = subprocess.run(
            [*command, "-F", str(wave), str(soundfont), str(midi)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
        )
        if done.returncode != 0 or not wave.exists():
            reason = done.stderr.decode(errors="replace").strip()[-300:]
            raise TrainingError(f"fluidsynth failed on {soundfont}: {reason}")
        return decode(wave)


def write_midi(notes: Notes, *, path: Path) -> None:
    """Write notes as a Standard MIDI File with 960 ticks per second.

    Parameters
    ----------
    notes : Notes
        Any notes.
    path : Path
        The file to write.

    Raises
    ------
    MirexError
        If mido is not installed.
    """
    need(("mido",), extra="train")
    import mido

    channels = _channels(notes.program)
    events = []
    for channel, number in {(channels[p], p) for p in channels if p != DRUMS}:
        events.append((0, 0, mido.Message("program_change", channel=channel, program=int(number))))
    for onset, duration, pitch, velocity, number in zip(*notes, strict=True):
        channel = channels[int(number)]
        start = round(onset * TICKS_PER_SECOND)
        stop = max(start + 1, round((onset + duration) * TICKS_PER_SECOND))
        common = {"channel": channel, "note": int(pitch)}
        events.append((start, 2, mido.Message("note_on", velocity=int(velocity), **common)))
        events.append((stop, 1, mido.Message("note_off", velocity=0, **common)))
    events.sort(key=lambda event: event[:2])
    track = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=500_000)])
    now = 0
    for tick, _, message in events:
        track.append(message.copy(time=tick - now))
        now = tick
    # A beat of 0.5 s holds TICKS_PER_SECOND / 2 ticks.
    mido.MidiFile(ticks_per_beat=TICKS_PER_SECOND // 2, tracks=[track]).save(path)


def _channels(programs: NDArray[np.int64]) -> dict[int, int]:
    free = [channel for channel in range(16) if channel != DRUM_CHANNEL]
    order = [int(p) for p in dict.fromkeys(programs.tolist()) if p != DRUMS]
    channels = {program: free[index % len(free)] for index, program in enumerate(order)}
    return channels | {DRUMS: DRUM_CHANNEL}
