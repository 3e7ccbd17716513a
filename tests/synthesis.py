"""Test audio made by code: songs of chords, bass and melody, with transposition and tempo."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

RATE = 22050

# Roots in semitones above C, and whether the triad is minor: one progression per song.
_PROGRESSIONS = (
    ((0, False), (7, False), (9, True), (5, False)),
    ((9, True), (5, False), (0, False), (7, False)),
    ((2, True), (7, False), (0, False), (9, True)),
    ((0, True), (8, False), (3, False), (10, False)),
    ((4, True), (9, True), (2, False), (11, True)),
)


def tone(
    frequency: float, *, seconds: float, rate: int = RATE, amplitude: float = 1.0
) -> NDArray[np.float32]:
    """A pure tone: float32 [samples]."""
    time = np.arange(round(seconds * rate)) / rate
    return (amplitude * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


def song(
    number: int, *, seconds: float = 4.0, transpose: int = 0, tempo: float = 1.0, rate: int = RATE
) -> NDArray[np.float32]:
    """A song: its progression, with a bass and an arpeggio; float32 [samples], within -1..1.

    number: which song. transpose: semitones. tempo: 1.0 is two chords a second.
    """
    samples = np.zeros(round(seconds * rate))
    progression = _PROGRESSIONS[number % len(_PROGRESSIONS)]
    beat = 0.5 / tempo
    for index in range(int(seconds / beat)):
        root, minor = progression[index % len(progression)]
        chord = (0, 3 if minor else 4, 7)
        pitches = [36 + root, *(60 + root + step for step in chord), 72 + root + chord[index % 3]]
        for pitch in pitches:
            _add_note(samples, pitch + transpose, start=index * beat, seconds=beat, rate=rate)
    return (0.9 * samples / np.abs(samples).max()).astype(np.float32)


def write(
    path: str | os.PathLike[str], samples: NDArray, *, rate: int = RATE, subtype: str | None = None
) -> Path:
    """Write samples, [n] or [n, channels], in the format that the name's ending says."""
    soundfile.write(os.fspath(path), samples, rate, subtype=subtype)
    return Path(path)


def write_m4a(path: str | os.PathLike[str], samples: NDArray[np.float32], *, rate: int = RATE) -> Path:
    """Write AAC in an MP4 container, which libsndfile does not read."""
    return encode(path, samples, rate=rate, codec="aac", container="mp4")


def encode(
    path: str | os.PathLike[str],
    *tracks: NDArray[np.float32],
    codec: str,
    container: str,
    rate: int = RATE,
    default: int | None = None,
    options: dict[str, str] | None = None,
    bit_rate: int | None = None,
) -> Path:
    """Encode with FFmpeg: each track, [n] or [n, 2], is an audio stream.

    default: index of the stream that is flagged as default, and no other. options: of the container.
    bit_rate: bits a second of each stream; WMA has no default.
    """
    import av
    from av.stream import Disposition

    with av.open(os.fspath(path), "w", format=container, options=options or {}) as output:
        streams = []
        for index, track in enumerate(tracks):
            layout = "mono" if track.ndim == 1 else "stereo"
            stream: Any = output.add_stream(codec, rate=rate, layout=layout)
            streams.append(stream)
            if bit_rate is not None:
                stream.bit_rate = bit_rate
            if default is not None:
                stream.disposition = Disposition.default if index == default else Disposition(0)
        for track, stream in zip(tracks, streams, strict=True):
            _encode_track(output, stream, track, rate)
    return Path(path)


def _encode_track(output: Any, stream: Any, track: NDArray[np.float32], rate: int) -> None:
    import av

    layout = "mono" if track.ndim == 1 else "stereo"
    planes = np.ascontiguousarray(track.reshape(len(track), -1).T)
    to_codec = av.AudioResampler(format=stream.format, layout=layout, rate=rate, frame_size=1024)
    for start in range(0, planes.shape[1], 1024):
        block = np.ascontiguousarray(planes[:, start : start + 1024])
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
        frame.sample_rate, frame.pts = rate, start
        for converted in to_codec.resample(frame):
            output.mux(stream.encode(converted))
    output.mux(stream.encode(None))


def _add_note(samples: NDArray, pitch: int, *, start: float, seconds: float, rate: int) -> None:
    """Add a decaying note of six harmonics; pitch as in MIDI."""
    first = round(start * rate)
    time = np.arange(min(round(seconds * rate), len(samples) - first)) / rate
    frequency = 440.0 * 2.0 ** ((pitch - 69) / 12)
    harmonics = sum(np.sin(2 * np.pi * k * frequency * time) / k for k in range(1, 7))
    samples[first : first + len(time)] += harmonics * np.exp(-3.0 * time)
