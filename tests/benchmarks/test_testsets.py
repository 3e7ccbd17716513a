"""Test sets for the accuracy benchmarks, from a corpus made by code."""

from dataclasses import replace

import numpy as np
import pytest

from made_corpus import write_scores
from mirex.benchmarks import testsets
from mirex.corpora.archive import save_archive
from mirex.corpora.clips import anthem_clips, pop_clips
from mirex.corpora.cqt_levels import level_arrays
from mirex.corpora.scores import ScoreCorpus
from mirex.errors import EvaluationError
from mirex.settings import FrontEndSettings
from synthesis import song, write


@pytest.fixture
def corpus(tmp_path):
    write_scores(tmp_path / "scores.npz", works=6, versions=3)
    return ScoreCorpus.load(tmp_path / "scores.npz", split="validation")


@pytest.fixture
def played(monkeypatch):
    """Notes that were to be played, instead of FluidSynth's playing them."""
    seen = []

    def synthesise(notes, *, soundfont):
        seen.append(notes)
        return song(0, seconds=1)

    monkeypatch.setattr(testsets, "synthesise", synthesise)
    return seen


class TestScores:
    def test_all_versions_of_the_works_asked_for(self, corpus, played, tmp_path):
        recordings = list(testsets.score_recordings(corpus, soundfont=tmp_path / "x.sf2", works=1))
        assert len({each.name for each in recordings}) == 3
        assert len({each.work for each in recordings}) == 1
        assert len(list(testsets.score_recordings(corpus, soundfont=tmp_path / "x.sf2"))) == 6

    def test_notes_are_those_of_the_score(self, corpus, played, tmp_path):
        list(testsets.score_recordings(corpus, soundfont=tmp_path / "x.sf2", works=1))
        score = corpus.score(int(corpus.works[0][0]))
        np.testing.assert_array_equal(played[0].pitch, score.pitch)
        np.testing.assert_array_equal(played[0].onset, score.onset)
        np.testing.assert_array_equal(np.unique(played[0].program), np.unique(score.program))

    def test_transposition_is_within_a_tritone_and_repeats(self, corpus, played, tmp_path):
        for _ in range(2):
            list(testsets.score_recordings(corpus, soundfont=tmp_path / "x.sf2", transpose=True, seed=4))
        scores = [corpus.score(song) for songs in corpus.works for song in songs.tolist()]
        shifts = [(notes.pitch - score.pitch) for notes, score in zip(played, scores * 2, strict=True)]
        assert all(np.ptp(shift) == 0 and abs(shift[0]) <= 6 for shift in shifts)
        assert len({int(shift[0]) for shift in shifts}) > 1
        assert [int(shift[0]) for shift in shifts[:6]] == [int(shift[0]) for shift in shifts[6:]]

    def test_notes_that_leave_the_range_stay_out(self, corpus):
        score = corpus.score(int(corpus.works[0][0]))
        score = score._replace(pitch=np.where(np.arange(len(score.pitch)) == 0, 126, score.pitch))
        notes = testsets.score_notes(score, semitones=4)
        assert len({len(field) for field in notes}) == 1
        assert len(notes.pitch) == len(score.pitch) - 1


class TestDemo:
    def test_a_fast_version_is_of_the_same_work(self, tmp_path):
        for name in ("x.wav", "x_fast.wav", "y.wav"):
            write(tmp_path / name, song(0, seconds=0.5))
        (tmp_path / "collection.txt").write_text("x.wav\nx_fast.wav\ny.wav\n")
        found = list(testsets.demo_recordings(tmp_path))
        assert [(each.name, each.work) for each in found] == [
            ("x.wav", "x"),
            ("x_fast.wav", "x"),
            ("y.wav", "y"),
        ]

    def test_no_demo(self, tmp_path):
        with pytest.raises(EvaluationError, match="--demo"):
            testsets.demo_names(tmp_path)


def test_to_clips_is_the_front_end():
    recordings = [
        testsets.Recording("a", "one", song(0, seconds=2)),
        testsets.Recording("b", "one", song(1, seconds=3)),
    ]
    seen: list[int] = []
    clips = testsets.to_clips(recordings, front_end=FrontEndSettings(), progress=seen.append)
    assert seen == [1, 2]
    assert [(clip.name, clip.work, clip.columns.shape) for clip in clips] == [
        ("a", "one", (84, 4)),
        ("b", "one", (84, 6)),
    ]


class TestAnthems:
    @pytest.fixture
    def archive(self, tmp_path, rng):
        arrays = {
            "level": rng.integers(0, 240, (12, 84)).astype(np.uint8),
            "recording_offset": np.array([0, 5, 12], np.uint32),
            "clique": np.frombuffer(b"ad\nfr", np.uint8),
            "name": np.frombuffer(b"x/ad.ogg\ny/fr.ogg", np.uint8),
            "confirmed": np.array([1, 0], np.uint8),
        }
        np.savez(tmp_path / "anthems.npz", **arrays)
        return tmp_path / "anthems.npz", arrays["level"]

    def test_levels_become_columns_of_twice_the_length(self, archive):
        path, level = archive
        clips, confirmed = anthem_clips(path, front_end=FrontEndSettings())
        assert [(clip.name, clip.work, clip.columns.shape) for clip in clips] == [
            ("x/ad.ogg", "ad", (84, 2)),
            ("y/fr.ogg", "fr", (84, 3)),
        ]
        assert confirmed.tolist() == [True, False]
        magnitude = 10 ** ((level[5:7] / 2 - 120) / 20)
        np.testing.assert_allclose(clips[1].columns[:, 0], magnitude.mean(axis=0), rtol=1e-4)

    def test_columns_that_cannot_be_joined(self, archive):
        with pytest.raises(EvaluationError, match="25 frames"):
            anthem_clips(archive[0], front_end=replace(FrontEndSettings(), frames_per_column=25))

    def test_not_an_archive(self, tmp_path):
        (tmp_path / "anthems.npz").write_bytes(b"no archive")
        with pytest.raises(EvaluationError, match="not an anthems archive"):
            anthem_clips(tmp_path / "anthems.npz", front_end=FrontEndSettings())


class TestPop:
    @pytest.fixture
    def archive(self, tmp_path, rng):
        recordings = [
            (10.0 ** rng.uniform(-2, 0, (84, length))).astype(np.float32) for length in (8, 7, 9, 6)
        ]
        arrays = level_arrays(
            recordings,
            works=[3, 5, 3, 3],
            splits=["validation", "validation", "validation", "train"],
            names=["A - One", "B -  Two", " - ", "D - Four"],
        )
        save_archive(arrays, path=tmp_path / "recordings.npz")
        return tmp_path / "recordings.npz", recordings

    def test_versions_and_distractors_of_the_validation_split(self, archive):
        path, recordings = archive
        clips, paired = pop_clips(path, front_end=FrontEndSettings())
        assert [(clip.name, clip.work) for clip in clips] == [
            ("recording 0: A - One", "work 3"),
            ("recording 1: B - Two", "work 5"),
            ("recording 2: -", "work 3"),
        ]
        assert paired.tolist() == [True, False, True]
        error = 20 * np.log10(clips[0].columns / recordings[0])
        assert np.abs(error).max() <= 0.5 + 1e-3, "half a step of rounding and half a step put back"

    def test_what_rounding_took_is_put_back_by_seed(self, archive):
        path, _ = archive
        first, again, other = (
            pop_clips(path, front_end=FrontEndSettings(), seed=seed)[0][0].columns for seed in (0, 0, 1)
        )
        np.testing.assert_array_equal(first, again)
        assert not np.array_equal(first, other)
        assert len(np.unique(first)) > 0.9 * first.size, "levels tie no longer"

    def test_columns_that_cannot_be_joined(self, archive):
        with pytest.raises(EvaluationError, match="columns of 20 frames"):
            pop_clips(archive[0], front_end=replace(FrontEndSettings(), frames_per_column=30))
