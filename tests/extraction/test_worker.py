"""What a worker does with a recording."""

import numpy as np
import pytest
import soundfile

from mirex.extraction import worker
from mirex.features import streaming
from mirex.settings import FrontEndSettings

SETUP = {
    "front_end": FrontEndSettings().to_json(),
    "cqt": "multirate",
    "weights": None,
    "weights_fingerprint": None,
    "backend": "torch",
    "columns": False,
}


def test_a_long_recording_is_never_in_memory_as_a_whole(tmp_path, monkeypatch):
    path = tmp_path / "long.flac"
    time = np.arange(30 * 22050) / 22050
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * (200 + 10 * time) * time), 22050)
    analyse = worker._prepare(SETUP)
    whole = analyse(str(path), lambda seconds: None)["columns"]

    def decode(*args, **kwargs):
        raise AssertionError("decoded as a whole")

    monkeypatch.setattr(streaming, "LONG", 10.0)
    monkeypatch.setattr(worker, "decode", decode)
    lengths: list[float] = []
    found = analyse(str(path), lengths.append)["columns"]
    np.testing.assert_allclose(found, whole, atol=1e-5 * float(whole.max()))
    assert lengths == [pytest.approx(30, abs=1)]
