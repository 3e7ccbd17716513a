"""Damaged audio files of every container that is read, and things that are no audio files at all.

Everything is made by code from a seeded generator: the same seed gives the same files.
"""

import gzip
import io
import os
import socket
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import soundfile
from numpy.typing import NDArray

from synthesis import song

SECONDS = 12.0
RATE = 22050


class Sample(NamedTuple):
    """A file of the campaign.

    path: as the list names it. kind: what was done to it. whole: whether at least nine tenths of the audio
    can still be decoded, so that a shorter result must be reported.
    """

    path: str
    kind: str
    whole: bool


class Damage(NamedTuple):
    """A way to damage bytes; `whole` as in `Sample`."""

    apply: Callable[[bytes, np.random.Generator], bytes]
    whole: bool


def with_soundfile(format: str, subtype: str) -> Callable[[NDArray], bytes]:
    """An encoder of libsndfile."""

    def encode(samples: NDArray) -> bytes:
        file = io.BytesIO()
        soundfile.write(file, samples, RATE, format=format, subtype=subtype)
        return file.getvalue()

    return encode


def with_ffmpeg(format: str, codec: str, rate: int = RATE) -> Callable[[NDArray], bytes]:
    """An encoder of FFmpeg."""

    def encode(samples: NDArray) -> bytes:
        file = io.BytesIO()
        with av.open(file, "w", format=format) as container:
            stream = container.add_stream(codec, rate=rate, layout="stereo")
            assert isinstance(stream, av.AudioStream)
            stream.bit_rate = 96_000  # WMA has no default
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(samples.T, dtype=np.float32), format="fltp", layout="stereo"
            )
            frame.sample_rate, frame.pts = RATE, 0
            resampler = av.AudioResampler(format=stream.format, layout="stereo", rate=rate)
            fifo = av.AudioFifo()
            for converted in [*resampler.resample(frame), *resampler.resample(None)]:
                fifo.write(converted)
            size = stream.codec_context.frame_size or 1024
            while (part := fifo.read(size, partial=True)) is not None:
                container.mux(stream.encode(part))
            container.mux(stream.encode(None))
        return file.getvalue()

    return encode


ENCODERS: dict[str, Callable[[NDArray], bytes]] = {
    "wav": with_soundfile("WAV", "PCM_16"),
    "float.wav": with_soundfile("WAV", "FLOAT"),
    "rf64.wav": with_soundfile("RF64", "PCM_24"),
    "w64": with_soundfile("W64", "PCM_16"),
    "aiff": with_soundfile("AIFF", "PCM_16"),
    "au": with_soundfile("AU", "PCM_16"),
    "caf": with_soundfile("CAF", "PCM_16"),
    "flac": with_soundfile("FLAC", "PCM_16"),
    "ogg": with_soundfile("OGG", "VORBIS"),
    "mp3": with_soundfile("MP3", "MPEG_LAYER_III"),
    "opus": with_ffmpeg("ogg", "libopus", 48_000),
    "m4a": with_ffmpeg("mp4", "aac"),
    "aac": with_ffmpeg("adts", "aac"),
    "mka": with_ffmpeg("matroska", "aac"),
    "webm": with_ffmpeg("webm", "libopus", 48_000),
    "wma": with_ffmpeg("asf", "wmav2", 44_100),
    "ac3": with_ffmpeg("ac3", "ac3", 44_100),
    "wv": with_ffmpeg("wv", "wavpack"),
    "avi": with_ffmpeg("avi", "libmp3lame"),
    "flv": with_ffmpeg("flv", "aac"),
    "ts": with_ffmpeg("mpegts", "aac"),
    "mpg": with_ffmpeg("mpeg", "mp2", 44_100),
}


def _block(data: bytes, generator: np.random.Generator, most: float) -> tuple[int, int]:
    """Start and end of a block in the middle of the data, at most so great a share of it."""
    size = int(generator.integers(1, max(2, int(most * len(data)))))
    start = int(generator.integers(len(data) // 4, max(len(data) // 4 + 1, 3 * len(data) // 4 - size)))
    return start, start + size


def _noise(count: int, generator: np.random.Generator) -> bytes:
    return generator.integers(0, 256, count, dtype=np.uint8).tobytes()


def cut_end(data: bytes, generator: np.random.Generator) -> bytes:
    """Only the beginning."""
    return data[: int(generator.integers(0, len(data)))]


def cut_start(data: bytes, generator: np.random.Generator) -> bytes:
    """Only the end."""
    return data[int(generator.integers(0, len(data))) :]


def flip_bits(data: bytes, generator: np.random.Generator) -> bytes:
    """Up to 64 bits flipped, anywhere."""
    changed = np.frombuffer(data, np.uint8).copy()
    for place in generator.integers(0, len(data), int(generator.integers(1, 65))):
        changed[place] ^= np.uint8(1 << int(generator.integers(8)))
    return changed.tobytes()


def garble_header(data: bytes, generator: np.random.Generator) -> bytes:
    """Up to 16 random bytes among the first 256."""
    changed = np.frombuffer(data, np.uint8).copy()
    for place in generator.integers(0, min(256, len(data)), int(generator.integers(1, 17))):
        changed[place] = generator.integers(0, 256)
    return changed.tobytes()


def absurd_field(data: bytes, generator: np.random.Generator) -> bytes:
    """A 32-bit number of the header replaced: counts and rates of nothing, or of gigabytes."""
    value = int(generator.choice([0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000]))
    place = 4 * int(generator.integers(1, 24))
    order = "<I" if generator.random() < 0.5 else ">I"
    return data[:place] + struct.pack(order, value) + data[place + 4 :]


def zero_block(data: bytes, generator: np.random.Generator) -> bytes:
    """Up to 3 % of zeros in the middle."""
    start, end = _block(data, generator, 0.03)
    return data[:start] + bytes(end - start) + data[end:]


def noise_block(data: bytes, generator: np.random.Generator) -> bytes:
    """Up to 3 % of random bytes in the middle."""
    start, end = _block(data, generator, 0.03)
    return data[:start] + _noise(end - start, generator) + data[end:]


def insert_noise(data: bytes, generator: np.random.Generator) -> bytes:
    """Random bytes put in between."""
    start, end = _block(data, generator, 0.03)
    return data[:start] + _noise(end - start, generator) + data[start:]


def remove_block(data: bytes, generator: np.random.Generator) -> bytes:
    """Up to 3 % left out in the middle."""
    start, end = _block(data, generator, 0.03)
    return data[:start] + data[end:]


def append_noise(data: bytes, generator: np.random.Generator) -> bytes:
    """Random bytes after the end."""
    return data + _noise(int(generator.integers(1, 50_000)), generator)


def append_itself(data: bytes, generator: np.random.Generator) -> bytes:
    """The same file once more."""
    return data + data


def random_bytes(data: bytes, generator: np.random.Generator) -> bytes:
    """Nothing of the file but its first bytes."""
    return data[: int(generator.integers(0, 64))] + _noise(len(data), generator)


DAMAGES: dict[str, Damage] = {
    "cut end": Damage(cut_end, False),
    "cut start": Damage(cut_start, False),
    "flipped bits": Damage(flip_bits, False),
    "garbled header": Damage(garble_header, False),
    "absurd field": Damage(absurd_field, False),
    "zeros inside": Damage(zero_block, True),
    "noise inside": Damage(noise_block, True),
    "noise put in": Damage(insert_noise, True),
    "block left out": Damage(remove_block, True),
    "noise behind": Damage(append_noise, True),
    "joined to itself": Damage(append_itself, True),
    "random bytes": Damage(random_bytes, False),
}


def encoded(seed: int = 0) -> dict[str, bytes]:
    """A stereo song in every format, by the ending of its name."""
    left, right = song(seed, seconds=SECONDS), song(seed, seconds=SECONDS, transpose=12)
    samples = np.stack([left, 0.7 * left + 0.3 * right], axis=1)
    return {ending: encode(samples) for ending, encode in ENCODERS.items()}


def damaged_files(folder: Path, *, count: int, generator: np.random.Generator) -> list[Sample]:
    """Write damaged files, formats and kinds of damage in turn."""
    originals = encoded()
    kinds = [(ending, kind) for kind in DAMAGES for ending in originals]
    order = generator.permutation(len(kinds))
    samples = []
    for number in range(count):
        ending, kind = kinds[order[number % len(kinds)]]
        path = folder / f"{number:05d} {kind}.{ending}"
        path.write_bytes(DAMAGES[kind].apply(originals[ending], generator))
        samples.append(Sample(str(path), f"{kind}, {ending}", DAMAGES[kind].whole))
    return samples


def strange_paths(folder: Path) -> list[Sample]:
    """What a list may name by mistake or on purpose: no audio file in any of it."""
    wav = encoded()["wav"]
    files = {
        "empty.wav": b"",
        "text.wav": b"this is no audio\n" * 100,
        "picture.mp3": b"\x89PNG\r\n\x1a\n" + bytes(5000),
        "program.flac": Path("/bin/true").read_bytes(),
        "archive.wav": _zip(wav),
        "tar.wav": _tar(wav),
        "compressed.wav": gzip.compress(wav),
        "concat.mp3": b"ffconcat version 1.0\nfile /etc/passwd\n",
        "playlist.m4a": b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nhttp://127.0.0.1:9/a.ts\n",
        "session.mp3": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
        "no samples.wav": wav[:44],
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / "folder.wav").mkdir()
    os.mkfifo(folder / "fifo.wav")
    (folder / "loop.wav").symlink_to("loop.wav")
    (folder / "dangling.wav").symlink_to("nowhere.wav")
    (folder / "endless.wav").symlink_to("/dev/zero")
    (folder / "random.wav").symlink_to("/dev/urandom")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "socket.wav"))
    with open(folder / "sparse.wav", "wb") as file:
        file.write(wav[:4] + struct.pack("<I", 0xFFFFFFF0) + wav[8:40] + struct.pack("<I", 0xFFFFFFF0))
        file.truncate(256 << 20)
    made = ["folder.wav", "fifo.wav", "loop.wav", "dangling.wav", "endless.wav", "random.wav"]
    names = [str(folder / name) for name in [*files, *made, "socket.wav", "missing.wav", "sparse.wav"]]
    addresses = ["http://127.0.0.1:9/a.mp3", "pipe:0", f"concat:{folder}/a|{folder}/b", "data:audio/wav,AAAA"]
    addresses += ["file:/etc/passwd", "lavfi:sine", "-i.wav"]
    addresses += ["$(touch injected).wav", "; touch injected; .wav"]
    return [Sample(name, "strange", False) for name in [*names, *addresses]]


def _zip(data: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("inside.wav", data)
    return file.getvalue()


def _tar(data: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        entry = tarfile.TarInfo("inside.wav")
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    return file.getvalue()
