"""The sets that scanning and fingerprints are compared on say truly what plays when."""

import numpy as np

from benchmarks import scan_fingerprints
from benchmarks.scan_fingerprints import NOTHING, Work, _changes, _make_set, _shares, reason_to_skip
from mirex.settings import SAMPLE_RATE


def test_a_missing_library_is_the_reason(monkeypatch):
    monkeypatch.setattr(scan_fingerprints, "LIBRARY", "no_such_library")
    assert "no_such_library is not installed" in reason_to_skip()


def test_truth_is_what_plays(rng):
    """Each work is a tone of its own, so that what plays in a second can be seen."""
    time = np.arange(80 * SAMPLE_RATE) / SAMPLE_RATE
    tones = [np.sin(2 * np.pi * 200 * (n + 1) * time).astype(np.float32) for n in range(4)]
    works = [Work(tones[0], None), Work(tones[1], tones[1]), Work(tones[2], None)]
    samples, truth = _make_set(works, tones[3:], _changes()["the same recording"], rng)
    assert len(truth) == round(len(samples) / SAMPLE_RATE)
    assert set(truth.tolist()) == {0, 1, 2, NOTHING}
    seconds = samples[: len(samples) // SAMPLE_RATE * SAMPLE_RATE].reshape(-1, SAMPLE_RATE)
    heard = np.abs(np.fft.rfft(seconds, axis=1))[:, [200, 400, 600]].argmax(axis=1)
    inside = truth[: len(heard)] != NOTHING
    assert (heard == truth[: len(heard)])[inside].mean() > 0.95
    _, truth = _make_set(works, tones[3:], _changes()["another version"], rng)
    assert set(truth.tolist()) == {1, NOTHING}


def test_shares_by_hand():
    truth = np.array([0, 0, 1, 1, NOTHING, NOTHING])
    named = np.array([0, NOTHING, 0, 1, NOTHING, 0])
    assert _shares(named, truth) == (0.5, 0.25, 0.5)
