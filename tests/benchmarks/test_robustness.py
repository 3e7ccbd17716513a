"""Degradations of audio: what they change, and what they leave."""

from typing import Any, ClassVar

import numpy as np
import pytest

from mirex.benchmarks import robustness
from mirex.benchmarks.baselines import compare_vectors
from mirex.benchmarks.testsets import Recording
from mirex.corpora.clips import Clip
from mirex.features.cqt import columns
from mirex.settings import FrontEndSettings
from synthesis import RATE, song, tone

A4 = 45  # bin of 440 Hz above C1
MIDDLE_A = 440.0


def loudest_bin(samples):
    """The bin that is loudest on average, off the ends."""
    return int(columns(samples)[:, 1:-1].mean(axis=1).argmax())


class TestTranspose:
    @pytest.mark.parametrize("semitones", [-6, -1, 3, 6])
    def test_moves_a_tone_and_keeps_the_duration(self, semitones):
        samples = tone(MIDDLE_A, seconds=4)
        result = robustness.transpose(samples, semitones=semitones)
        assert loudest_bin(result) == A4 + semitones
        assert len(result) == pytest.approx(len(samples), rel=0.01)
        assert result.dtype == np.float32


class TestChangeTempo:
    @pytest.mark.parametrize("factor", [0.8, 1.25])
    def test_changes_the_duration_and_keeps_a_tone(self, factor):
        samples = tone(MIDDLE_A, seconds=4)
        result = robustness.change_tempo(samples, factor=factor)
        assert loudest_bin(result) == A4
        assert len(result) == pytest.approx(len(samples) / factor, rel=0.02)

    def test_a_chord_stays_a_chord(self):
        samples = tone(MIDDLE_A, seconds=4, amplitude=0.3) + tone(554.37, seconds=4, amplitude=0.3)
        slower = robustness.change_tempo(samples, factor=0.8)
        before, after = (columns(each)[:, 2:-2].mean(axis=1) for each in (samples, slower))
        assert np.corrcoef(before, after)[0, 1] > 0.99


def test_low_pass_keeps_low_and_takes_high():
    low, high = tone(MIDDLE_A, seconds=3), tone(1760.0, seconds=3)
    result = columns(robustness.low_pass(low + high, hertz=1000.0))[:, 1:-1].mean(axis=1)
    assert result[A4] == pytest.approx(1.0, abs=0.02)
    assert result[A4 + 24] < 0.001


def test_noise_has_the_level_asked_for(rng):
    samples = tone(MIDDLE_A, seconds=2, amplitude=0.1)
    noise = robustness.add_noise(samples, decibels=10.0, generator=rng) - samples
    assert 10 * np.log10(np.mean(samples**2) / np.mean(noise**2)) == pytest.approx(10, abs=0.1)


def test_parts_join_to_the_whole():
    samples = np.arange(11, dtype=np.float32)
    halves = [robustness.part(samples, start=0, stop=0.5), robustness.part(samples, start=0.5, stop=1)]
    np.testing.assert_array_equal(np.concatenate(halves), samples)


def test_what_starts_later_lacks_its_start():
    samples = np.arange(RATE, dtype=np.float32)
    np.testing.assert_array_equal(robustness.later(samples, seconds=0.2), samples[RATE // 5 :])


@pytest.mark.parametrize(("length", "first", "last"), [(2 * RATE, RATE // 2, RATE * 3 // 2), (9, 0, 9)])
def test_the_middle_leaves_as_much_on_either_side(length, first, last):
    samples = np.arange(length, dtype=np.float32)
    np.testing.assert_array_equal(robustness.middle(samples, seconds=1.0), samples[first:last])


class TestMp3:
    def test_keeps_the_music(self):
        samples = 0.5 * song(0, seconds=4)
        result = robustness.mp3(samples, bit_rate=32_000)
        assert len(result) == pytest.approx(len(samples), abs=3000)
        shared = min(columns(samples).shape[1], columns(result).shape[1])
        before, after = (np.log1p(100 * columns(each)[:, :shared]).ravel() for each in (samples, result))
        assert 0.9 < np.corrcoef(before, after)[0, 1] < 1 - 1e-9

    def test_loud_samples_are_not_clipped(self):
        result = robustness.mp3(tone(MIDDLE_A, seconds=2, amplitude=4.0), bit_rate=32_000)
        octaves_up = columns(result)[A4 + 19, 1:-1]  # the third harmonic, which clipping makes
        assert octaves_up.max() < 0.02


class TestDegradations:
    def test_all_work_on_a_song_and_repeat_exactly(self):
        samples = song(1, seconds=2.5)
        for degradation in robustness.DEGRADATIONS:
            first, second = (degradation.apply(samples, np.random.default_rng(3)) for _ in range(2))
            np.testing.assert_array_equal(first, second)
            assert np.isfinite(first).all()
            assert len(first) > RATE

    def test_names_differ(self):
        names = [degradation.name for degradation in robustness.DEGRADATIONS]
        assert len(set(names)) == len(names)


class Mean:
    """A system that keeps the mean column."""

    name = "mean"
    settings: ClassVar[dict[str, Any]] = {}

    def describe(self, columns):
        return columns.mean(axis=1)

    describe_profile = describe

    def compare(self, queries, references, *, progress=None):
        return compare_vectors(queries, references)


def test_degrade_gives_columns_of_every_recording():
    kept = [each for each in robustness.DEGRADATIONS if each.name in ("tempo 0.8", "first half")]
    recordings = [Recording(f"{i}.wav", f"work {i}", song(i, seconds=4)) for i in range(2)]
    seen: list[int] = []
    originals, degraded = robustness.degrade(
        recordings, front_end=FrontEndSettings(), degradations=kept, progress=seen.append
    )
    assert seen == [1, 2]
    assert [clip.work for clip in originals] == ["work 0", "work 1"]
    assert [clip.columns.shape for clip in originals] == [(84, 8)] * 2
    assert {name: [each.shape[1] for each in found] for name, found in degraded.items()} == {
        "tempo 0.8": [10, 10],
        "first half": [4, 4],
    }


class TestCompareDegraded:
    clips = (
        Clip("a", "one", np.eye(84, dtype=np.float32)[:, :1]),
        Clip("b", "one", np.eye(84, dtype=np.float32)[:, 1:2]),
        Clip("c", "two", np.eye(84, dtype=np.float32)[:, 2:3]),
    )

    def test_by_hand(self):
        b, c = (clip.columns for clip in self.clips[1:])
        # a is taken for the other version, which counts; b is itself; c is nearer to b than to itself.
        rows = robustness.compare_degraded(self.clips, {"changed": [b, b, 2 * b + c]}, systems=[Mean()])
        (found,) = rows
        assert (found.degradation, found.system) == ("changed", "mean")
        assert found.rank_1 == pytest.approx(2 / 3)
        own = [1.0, 0.0, 1 - 1 / np.sqrt(5)]
        others = [1.0, 1.0, 1.0, 1 - 2 / np.sqrt(5)]
        assert found.own == pytest.approx(np.mean(own), abs=1e-6)
        assert found.others == pytest.approx(np.mean(others), abs=1e-6)

    def test_equal_distances_are_no_success(self):
        same = np.ones((84, 1), np.float32)
        (found,) = robustness.compare_degraded(self.clips, {"changed": [same] * 3}, systems=[Mean()])
        assert found.rank_1 == 0

    def test_text(self):
        columns = [clip.columns for clip in self.clips]
        rows = robustness.compare_degraded(self.clips, {"x": columns, "y": columns}, systems=[Mean()])
        lines = robustness.robustness_text(rows, recordings=3).splitlines()
        assert lines[0] == "robustness: 3 recordings, each degraded, against the originals"
        assert lines[2].split() == ["x", "1.000", "0.000", "1.000"]
