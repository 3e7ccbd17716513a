"""Uncompressed files in which bytes were lost or inserted are put in step again after that place."""

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mirex.features.audio import SAMPLE_RATE, AudioWarning, decode
from synthesis import song

SECONDS = 6
FORMS = {
    "wav": ("WAV", "PCM_16"), "24.wav": ("WAV", "PCM_24"), "32.wav": ("WAV", "PCM_32"),
    "float.wav": ("WAV", "FLOAT"), "double.wav": ("WAV", "DOUBLE"), "aiff": ("AIFF", "PCM_16"),
    "24.aiff": ("AIFF", "PCM_24"), "float.caf": ("CAF", "FLOAT"), "au": ("AU", "PCM_16"),
}  # fmt: skip


def encoded(samples: np.ndarray, ending: str) -> bytes:
    file = io.BytesIO()
    form, subtype = FORMS[ending]
    soundfile.write(file, samples, 44100, format=form, subtype=subtype)
    return file.getvalue()


@pytest.fixture(scope="module")
def stereo() -> np.ndarray:
    left, right = song(1, seconds=SECONDS, rate=44100), song(1, seconds=SECONDS, rate=44100, transpose=12)
    return np.stack([left, 0.5 * right], axis=1)


def written(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "a"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("lost", [-5, -1, 1, 7, 1001])
@pytest.mark.parametrize("ending", FORMS)
def test_what_is_behind_the_damage_is_heard(stereo, tmp_path, rng, ending, lost):
    content = encoded(stereo, ending)
    whole = decode(written(tmp_path, content))
    place = len(content) // 3
    middle = rng.bytes(-lost) if lost < 0 else b""
    path = written(tmp_path, content[:place] + middle + content[place + max(0, lost) :])
    with pytest.warns(AudioWarning, match="bytes were lost or inserted"):
        decoded = decode(path)
    assert len(decoded) == pytest.approx(len(whole), abs=0.15 * SAMPLE_RATE)
    ends = whole[-2 * SAMPLE_RATE : -SAMPLE_RATE], decoded[-int(2.2 * SAMPLE_RATE) :]
    found = np.correlate(ends[1].astype(float), ends[0].astype(float)).max()
    assert found > 0.95 * float(np.dot(ends[0], ends[0]))


@pytest.mark.parametrize("ending", FORMS)
def test_noise_silence_and_a_wrong_length_are_left_alone(stereo, tmp_path, rng, ending):
    noise = rng.uniform(-0.5, 0.5, stereo.shape)
    alternating = np.tile([[0.5], [-0.5]], (100_000, 2))
    with_silence = np.concatenate([np.zeros_like(stereo), stereo])
    for samples in (noise, alternating, with_silence, stereo[:3000]):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert len(decode(written(tmp_path, encoded(samples, ending)))) == -(-len(samples) // 2)
