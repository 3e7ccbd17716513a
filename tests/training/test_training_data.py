"""Scores, arrangements, rendering, sources and batches, on a corpus made by code."""

import dataclasses
import itertools
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import made_corpus
from mirex.corpora.fluidsynth import DRUMS, Notes, synthesise
from mirex.corpora.profiles import ProfileCorpus
from mirex.corpora.scores import ScoreCorpus
from mirex.errors import TrainingError
from mirex.features.cqt import columns
from mirex.settings import NetworkSettings
from mirex.training.batches import Batch, BatchMaker, Portion, stream
from mirex.training.settings import BatchSettings, StitchSettings
from mirex.training.sources import (
    ChromaSource,
    Lengths,
    RecordingSource,
    ScoreSource,
    choose_versions,
    crop_parts,
)
from mirex.training.synthesis import patches as patch_module
from mirex.training.synthesis.arrangement import ENSEMBLES, Excerpt, arrange, from_start
from mirex.training.synthesis.patches import FRAME_SECONDS, PRE_FRAMES, load_patches, save_patches
from mirex.training.synthesis.rendering import render

SETTINGS = NetworkSettings()
STITCHING = StitchSettings(probability=0.5, shortest=8)
SOUNDFONT = Path("/usr/share/sounds/sf2/TimGM6mb.sf2")


@pytest.fixture(scope="module")
def scores(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "scores.npz"
    made_corpus.write_scores(path)
    return path


@pytest.fixture(scope="module")
def chroma(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "hpcp.npz"
    made_corpus.write_chroma(path)
    return path


@pytest.fixture(scope="module")
def patches():
    return made_corpus.patches()


def _source(scores, patches):
    return ScoreSource(
        ScoreCorpus.load(scores), patches=[patches], settings=SETTINGS, stitching=STITCHING, fold_share=0.3
    )


def _chroma_source(path, **weights):
    return ChromaSource(ProfileCorpus.load(path), settings=SETTINGS, stitching=STITCHING, **weights)


def test_scores_are_read_by_split_and_by_part(scores):
    assert len(ScoreCorpus.load(scores, split="train").works) == 6
    held_out = ScoreCorpus.load(scores, split="validation")
    assert [len(songs) for songs in held_out.works] == [2, 2]
    score = held_out.score(int(held_out.works[1][1]))
    # Each part's onsets start again at 0 and run on by 25 ticks of 20 ms.
    assert score.onset[:60].tolist() == pytest.approx((np.arange(60) * 0.5).tolist())
    assert score.onset[60:].tolist() == pytest.approx((np.arange(60) * 0.5).tolist())
    assert score.duration[0] == pytest.approx(0.4)
    assert score.part.tolist() == [0] * 60 + [1] * 60
    assert score.melody.tolist() == [True, False]
    assert score.chord_time[1] == pytest.approx(2.0)


def test_another_file_is_not_taken_for_scores(tmp_path):
    path = tmp_path / "scores.npz"
    path.write_text("no archive")
    with pytest.raises(TrainingError, match="not a scores archive"):
        ScoreCorpus.load(path)


def test_an_arrangement_of_strength_zero_is_the_score(scores):
    corpus = ScoreCorpus.load(scores)
    score = corpus.score(0)
    notes = arrange(score, excerpt=from_start(29.8), strength=0.0, generator=np.random.default_rng(0))
    order = np.argsort(notes.onset, kind="stable")
    expected = np.argsort(score.onset, kind="stable")
    assert np.allclose(notes.onset[order], score.onset[expected])
    assert sorted(notes.pitch.tolist()) == sorted(score.pitch.tolist())


def test_a_given_transposition_moves_every_pitch_but_drums(scores):
    score = ScoreCorpus.load(scores).score(0)
    plain, moved = (
        arrange(
            score, excerpt=from_start(30.0), strength=1.0, generator=np.random.default_rng(3), transposition=t
        )
        for t in (0, 5)
    )
    pitched = plain.program != DRUMS
    assert (moved.pitch - plain.pitch)[pitched].tolist() == [5] * int(pitched.sum())
    assert (moved.pitch - plain.pitch)[~pitched].tolist() == [0] * int((~pitched).sum())


def test_a_short_song_is_repeated(scores):
    score = ScoreCorpus.load(scores).score(0)
    notes = arrange(score, excerpt=from_start(95.0), strength=0.0, generator=np.random.default_rng(0))
    length = float((score.onset + score.duration).max())
    assert np.isclose(notes.onset, score.onset[1] + length, atol=1e-9).any()
    assert notes.onset.max() > 90


def test_a_later_part_of_an_excerpt_goes_on_where_the_first_one_ends(scores):
    score = ScoreCorpus.load(scores).score(0)
    first, second = (
        arrange(
            score,
            excerpt=Excerpt(duration=8.0, whole=16.0, elapsed=elapsed, position=0.5),
            strength=0.0,
            generator=np.random.default_rng(0),
        )
        for elapsed in (0.0, 8.0)
    )
    together = np.concatenate([first.onset[first.onset >= 0], second.onset[second.onset >= 0] + 8.0])
    room = float((score.onset + score.duration).max()) - 16.0
    expected = score.onset - 0.5 * room
    assert np.allclose(np.sort(together), np.sort(expected[(expected >= 0) & (expected < 16.0)]))


def test_a_crop_in_another_tempo_holds_columns_of_the_recording_in_order(rng):
    ramp = np.tile(np.arange(200, dtype=np.float32), (84, 1))
    tempos = set()
    for _ in range(20):
        (crop,) = crop_parts([ramp], [90], anchor=0.5, strength=1.0, generator=rng)
        assert np.array_equal(crop, crop.round())
        assert (np.diff(crop[0]) >= 0).all()
        tempos.add(float(crop[0, -1] - crop[0, 0]))
    assert min(tempos) < 80 < 100 < max(tempos)


def test_crops_of_a_stitched_excerpt_are_consecutive(rng):
    ramp = np.tile(np.arange(100, dtype=np.float32), (12, 1))
    parts = crop_parts([ramp, ramp], [20, 30], anchor=0.5, strength=0.0, generator=rng)
    assert np.allclose(np.concatenate(parts, axis=1)[0], np.arange(25, 75))
    short = crop_parts([ramp[:, :20]], [50], anchor=1.0, strength=0.0, generator=rng)[0]
    assert np.allclose(short[0], np.arange(50) % 20)


def test_arrangements_differ_and_are_seeded(scores):
    score = ScoreCorpus.load(scores).score(0)

    def make(seed):
        return arrange(score, excerpt=from_start(30.0), strength=1.0, generator=np.random.default_rng(seed))

    assert all(np.array_equal(a, b) for a, b in zip(make(1), make(1), strict=True))
    assert len({make(seed).onset.tobytes() for seed in range(20)}) == 20


def test_an_ensemble_is_of_one_kind_of_instruments(scores):
    # Without ensembles, the two parts' programs of 104 would seldom lie so close together.
    score = ScoreCorpus.load(scores).score(0)
    kinds = [range(*programs) for programs in ENSEMBLES.values()]
    of_one_kind = 0
    for seed in range(200):
        notes = arrange(score, excerpt=from_start(30.0), strength=1.0, generator=np.random.default_rng(seed))
        programs = set(notes.program.tolist()) - {DRUMS}
        of_one_kind += len(programs) > 1 and any(programs <= set(kind) for kind in kinds)
    assert of_one_kind > 40


def test_some_layers_are_doubled_in_octaves(scores):
    # The score's two parts play other notes, so only a doubling plays the same ones on two programs.
    score = ScoreCorpus.load(scores).score(0)
    doublings = 0
    for seed in range(100):
        notes = arrange(score, excerpt=from_start(30.0), strength=1.0, generator=np.random.default_rng(seed))
        lines = [notes.pitch[notes.program == p] for p in np.unique(notes.program) if p != DRUMS]
        for first, second in itertools.combinations(lines, 2):
            distances = set((first - second).tolist()) if len(first) == len(second) else {1}
            doublings += len(distances) == 1 and distances.pop() % 12 == 0
    assert doublings > 10


def test_melodies_are_sung_now_and_then(scores):
    # Each note of a voice is followed by what it leaves on the key below, then on the key above.
    score, sung = ScoreCorpus.load(scores).score(0), 0
    for seed in range(60):
        notes = arrange(score, excerpt=from_start(30.0), strength=1.0, generator=np.random.default_rng(seed))
        for program in set(notes.program.tolist()) - {DRUMS}:
            pitch, velocity = (values[notes.program == program] for values in (notes.pitch, notes.velocity))
            if len(pitch) % 3 or not np.array_equal(np.diff(pitch.reshape(3, -1), axis=0)[:, 0], [-1, 2]):
                continue
            note, below, above = pitch.reshape(3, -1)
            assert (below == note - 1).all()
            assert (above == note + 1).all()
            power = (velocity.reshape(3, -1).astype(np.float64) ** 4).mean(axis=1)
            sung += 1
            if velocity.max() < 127:  # else some of the power is cut off
                assert 0.15 < power[1:].sum() / power.sum() < 0.35
    assert 10 < sung < 50


def test_rendering_against_loops(patches, rng):
    count = 12
    notes = Notes(
        onset=rng.uniform(-1, 8, count),
        duration=rng.uniform(0.1, 4.0, count),
        pitch=rng.integers(20, 112, count),
        velocity=rng.integers(20, 127, count),
        program=rng.integers(0, 100, count),
    )
    found = render(notes, patches=patches, columns=20, release=0.3)
    power = np.zeros((100, 84))
    for onset, duration, pitch, velocity, program in zip(*notes, strict=True):
        if not 0 <= pitch - 24 < 84:
            continue
        patch = patches[program, pitch - 24].astype(np.float64)
        low = max(pitch - 24 - 3, 0)
        early, late = patch[20, low:].sum(), patch[28, low:].sum()
        decay = min(1.0, (late / early) ** 0.125) if early > 0 else 1.0
        first = int(np.floor(onset / FRAME_SECONDS + 0.5)) - PRE_FRAMES
        length = max(round(duration / FRAME_SECONDS), 1) + PRE_FRAMES
        for t in range(length + 4):
            held = decay ** max(t - 28, 0)
            released = 0.3 ** max(t - length + 1, 0)
            if 0 <= first + t < 100:
                level = (velocity / 90) ** 4 * held * released
                power[first + t, low:] += level * patch[min(t, 28), low:]
    expected = np.sqrt(power).reshape(20, 5, 84).mean(axis=1).T
    assert np.allclose(found, expected, rtol=1e-3, atol=1e-7)


def test_patches_round_trip_and_shape_is_checked(tmp_path):
    levels = np.zeros((129, 84, 29, 84), np.uint8)
    levels[0, 1, 2, 3] = 200
    save_patches(levels, path=tmp_path / "patches.npz")
    power = load_patches(tmp_path / "patches.npz")
    assert power[0, 1, 2, 3] == pytest.approx(10 ** (-20 / 10))
    assert power.sum() == pytest.approx(10 ** (-20 / 10))
    np.savez(tmp_path / "other.npz", level=levels[:3])
    with pytest.raises(TrainingError, match="shape"):
        load_patches(tmp_path / "other.npz")


@pytest.mark.skipif(
    shutil.which("fluidsynth") is None or not SOUNDFONT.exists(),
    reason="fluidsynth or TimGM6mb not installed",
)
def test_the_renderer_agrees_with_fluidsynth_and_the_front_end(scores):
    """One program, so that the patches' levelling of programs plays no part."""
    power = np.zeros((1, 84, 29, 84), np.float32)
    decibels = patch_module.make_patches(SOUNDFONT, programs=range(1)).astype(np.float32) / 2 - 120
    power[:] = 10 ** (decibels / 10)
    score = ScoreCorpus.load(scores).score(0)
    notes = Notes(
        score.onset, score.duration, score.pitch, score.velocity, np.zeros(len(score.onset), np.int64)
    )
    rendered = render(notes, patches=power, columns=60)
    heard = columns(synthesise(notes, soundfont=SOUNDFONT))[:, :60]
    rendered = rendered[:, : heard.shape[1]]
    correlation = np.corrcoef(rendered.ravel(), heard.ravel())[0, 1]
    assert correlation > 0.9


def test_versions_are_used_once_before_any_is_used_twice(rng):
    for available, count in ((5, 3), (3, 5), (1, 4), (4, 4)):
        chosen = choose_versions(available, count, rng)
        assert len(chosen) == count
        counts = np.bincount(chosen, minlength=available)
        assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize("lengths", [Lengths(9, 12), Lengths(40, 60)])
def test_every_source_gives_views_of_the_wanted_shape(scores, chroma, patches, rng, lengths):
    recording = RecordingSource(
        made_corpus.Columns([[rng.random((84, n), dtype=np.float32) for n in (50, 300)] for _ in range(3)]),
        settings=SETTINGS,
        stitching=STITCHING,
    )
    kinds = []
    for source in (_source(scores, patches), _chroma_source(chroma), recording):
        for seed in range(6):
            generator = np.random.default_rng(seed)
            versions = source.draw(1, lengths=[lengths] * 3, strength=1.0, generator=generator)
            wanted = [(36, lengths.chroma) if v.folded else (84, lengths.cqt) for v in versions]
            assert [v.view.shape for v in versions] == wanted
            assert all(v.view.dtype == np.float32 and np.isfinite(v.view).all() for v in versions)
            assert all(v.view.min() >= 0 and v.view.max() < 1.6 for v in versions)
            kinds.append((type(source), *{v.folded for v in versions}))
    assert {kind[1:] for kind in kinds if kind[0] is ChromaSource} == {(True,)}
    assert {len(kind) for kind in kinds if kind[0] is not ChromaSource} > {3}, "both views of one work"


@pytest.mark.parametrize(
    ("voiced", "fold", "kinds"),
    [
        (0.0, 0.0, {True}),
        (1.0, 0.0, {False}),
        (1.0, 1.0, {True}),
        (1.0, 0.5, {True, False}),
        (0.5, 0.0, {True, False}),
    ],
)
def test_voiced_chroma_is_given_in_either_view(chroma, patches, voiced, fold, kinds):
    source = _chroma_source(chroma, voiced_share=voiced, fold_share=fold, patches=[patches])
    lengths = Lengths(16, 20)
    versions = [
        version
        for seed in range(4)
        for version in source.draw(
            1, lengths=[lengths] * 3, strength=1.0, generator=np.random.default_rng(seed)
        )
    ]
    assert {version.folded for version in versions} == kinds
    assert all(v.view.shape == ((36, 20) if v.folded else (84, 16)) for v in versions)
    assert all(v.view.any() and np.isfinite(v.view).all() for v in versions)
    assert {version.recording for version in versions} == {3, 4, 5}


@pytest.mark.parametrize("fold", [0.0, 1.0])
def test_a_voiced_crop_has_the_classes_of_its_recording(tmp_path, patches, fold):
    made_corpus.write_chroma(tmp_path / "hpcp.npz", versions=1)
    corpus = ProfileCorpus.load(tmp_path / "hpcp.npz")
    unstitched = dataclasses.replace(STITCHING, probability=0.0)
    source = ChromaSource(
        corpus,
        settings=SETTINGS,
        stitching=unstitched,
        voiced_share=1.0,
        fold_share=fold,
        patches=[patches],
    )
    for work in range(4):
        (version,) = source.draw(
            work, lengths=[Lengths(70, 70)], strength=0.0, generator=np.random.default_rng(3)
        )
        (recording,) = corpus.works[work]
        heard = version.view[:12] if fold else version.view[24:72].reshape(4, 12, -1).sum(axis=0)
        matches = [
            np.corrcoef(np.roll(corpus.profile(recording), key, axis=0).ravel(), heard.ravel())[0, 1]
            for key in range(12)
        ]
        assert max(matches) > 0.6, "in one of the keys"
        assert np.sort(matches)[-2] < 0.4


def test_chroma_row_zero_is_turned_from_a_to_c(tmp_path):
    profile = np.zeros((12, 40), np.uint8)
    profile[3] = 15  # row 0 is A, so row 3 is C
    np.savez(
        tmp_path / "hpcp.npz",
        hpcp=profile,
        recording_offset=np.array([0, 40], np.uint32),
        recording_work=np.array([0], np.uint32),
        recording_split=np.array([0], np.uint8),
    )
    corpus = ProfileCorpus.load(tmp_path / "hpcp.npz")
    assert corpus.profile(0)[:, 0].tolist() == [1.0] + [0.0] * 11


def test_a_file_without_profiles_is_refused(tmp_path, scores):
    (tmp_path / "text.npz").write_text("text")
    for path in (tmp_path / "none.npz", tmp_path / "text.npz", scores):
        with pytest.raises(TrainingError, match="not an archive of profiles"):
            ProfileCorpus.load(path)


class TestTurnedWorks:
    def source(self, tmp_path, **weights):
        made_corpus.write_chroma(tmp_path / "hpcp.npz", versions=1)
        corpus = ProfileCorpus.load(tmp_path / "hpcp.npz")
        unstitched = dataclasses.replace(STITCHING, probability=0.0)
        return ChromaSource(corpus, settings=SETTINGS, stitching=unstitched, **weights)

    def draw(self, source, work):
        """The whole recording, in the key and under the envelope of the same draws for every work."""
        (version,) = source.draw(
            work, lengths=[Lengths(9, 70)], strength=0.0, generator=np.random.default_rng(3)
        )
        return version

    def test_they_come_after_all_others_and_both_turns_last(self, chroma):
        assert _chroma_source(chroma).work_weights.tolist() == [1.0] * 4
        backwards = _chroma_source(chroma, backwards_weight=0.25)
        assert backwards.work_weights.tolist() == [1.0] * 4 + [0.25] * 4
        all_turns = _chroma_source(chroma, backwards_weight=0.25, mirrored_weight=0.5)
        assert all_turns.work_weights.tolist() == [1.0] * 4 + [0.25] * 4 + [0.5] * 4 + [0.125] * 4

    def test_backwards_is_the_same_recording_in_opposite_order(self, tmp_path):
        source = self.source(tmp_path, backwards_weight=0.5)
        for work in range(4):
            forwards, backwards = self.draw(source, work), self.draw(source, work + 4)
            assert forwards.recording == backwards.recording
            np.testing.assert_allclose(backwards.view[:, ::-1], forwards.view, atol=1e-6)
            assert not np.allclose(backwards.view, forwards.view)

    def test_mirrored_is_the_same_recording_with_intervals_upside_down(self, tmp_path):
        source = self.source(tmp_path, mirrored_weight=0.5)
        for work in range(4):
            as_is, mirrored = self.draw(source, work), self.draw(source, work + 4)
            assert as_is.recording == mirrored.recording
            plain, turned = _octave(as_is.view), _octave(mirrored.view)
            keys = [np.roll(turned[::-1], key, axis=0) for key in range(12)]
            assert any(np.allclose(key, plain, atol=1e-6) for key in keys)
            assert not any(np.allclose(np.roll(turned, key, axis=0), plain, atol=0.1) for key in range(12))

    def test_both_turns_are_backwards_of_mirrored(self, tmp_path):
        source = self.source(tmp_path, backwards_weight=0.5, mirrored_weight=0.5)
        for work in range(4):
            mirrored, both = self.draw(source, work + 8), self.draw(source, work + 12)
            np.testing.assert_allclose(both.view[:, ::-1], mirrored.view, atol=1e-6)


def _octave(view):
    """The lowest octave of a chroma view without its envelope: the loudest of each row is 1."""
    return view[:12] / view[:12].max(axis=1, keepdims=True)


def _maker(scores, chroma, patches):
    sources = [_source(scores, patches), _chroma_source(chroma)]
    settings = BatchSettings(
        works=(3, 2), versions=4, lengths=(16, 24), chroma_lengths=(20, 30), curriculum_steps=10
    )
    return BatchMaker(sources, settings=settings, seed=7)


def _equal(first: Batch, second: Batch) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first[:5], second[:5], strict=True))


def test_a_batch_is_p_works_by_k_versions_of_one_length_a_view(scores, chroma, patches):
    maker = _maker(scores, chroma, patches)
    lengths = set()
    for step in range(8):
        cqt, folded, labels, recordings, sources, _, families = maker.batch(step)
        assert families.tolist() == labels.tolist()
        assert cqt.shape[1:3] == (1, 84)
        assert folded.shape[1:3] == (1, 36)
        assert len(cqt) + len(folded) == len(labels) == 20
        assert len(folded) >= 8
        lengths.add((cqt.shape[3], folded.shape[3]))
        works, counts = np.unique(labels, return_counts=True)
        assert counts.tolist() == [4] * 5
        assert (works < 6).sum() == 3
        assert sources.tolist() == [0] * 12 + [1] * 8, "the CQT view's come first"
        assert works.max() < maker.works == 10
        made = recordings[labels < 6]
        assert len(set(made.tolist())) == len(made)  # a made version is a recording of its own
        # Four crops of three real recordings: one recording is drawn twice and says so.
        assert len(set(recordings[labels >= 6].tolist())) == 2 * 3
    assert {length for length, _ in lengths} == {16, 24}
    assert {length for _, length in lengths} == {20, 30}


def test_a_short_crop_repeats_its_excerpt(scores, chroma, patches):
    sources = [_source(scores, patches), _chroma_source(chroma)]
    settings = BatchSettings(works=(3, 2), versions=4, lengths=(70,), chroma_lengths=(100,), short_share=0.5)
    batches = [BatchMaker(sources, settings=settings, seed=7).batch(step) for step in range(4)]
    periods = [_period(view[0]) for batch in batches for views in batch[:2] for view in views]
    short = [period for period in periods if period is not None]
    assert 0.3 < len(short) / len(periods) < 0.7
    assert 20 <= min(short) < 26
    assert 46 < max(short) <= 56
    none = dataclasses.replace(settings, short_share=0.0)
    whole = BatchMaker(sources, settings=none, seed=7).batch(0)
    assert all(_period(view[0]) is None for views in whole[:2] for view in views)


def _period(view):
    """After how many steps, at most 60, a view begins again; None: it does not."""
    steps = view.shape[1]
    return next((n for n in range(10, 60) if np.array_equal(view[:, n:], view[:, : steps - n])), None)


def test_a_single_crop_in_a_view_is_left_out(scores, patches):
    settings = BatchSettings(works=(2,), versions=2, lengths=(16,), chroma_lengths=(20,))
    maker = BatchMaker([_source(scores, patches)], settings=settings, seed=7)
    batches = [maker.batch(step) for step in range(30)]
    sizes = {(len(batch.cqt), len(batch.chroma)) for batch in batches}
    assert sizes >= {(4, 0), (3, 0), (2, 2)}, "none, one and two of four are folded"
    assert all(1 not in pair for pair in sizes)
    assert all(len(b.cqt) + len(b.chroma) == len(b.labels) == len(b.recordings) for b in batches)


def test_once_through_shows_every_work_once_as_it_is(scores, chroma, patches):
    maker = _maker(scores, chroma, patches)
    batches = _once_through(maker, works=4)
    # Six works of scores, then four of chroma: no batch holds works of two sources.
    assert [sorted(batch.labels.tolist()) for batch in batches] == [[0, 1, 2, 3], [4, 5], [6, 7, 8, 9]]
    assert all(batch.cqt.shape[3] == 24 for batch in batches if len(batch.cqt))
    assert all(batch.chroma.shape[3] == 30 for batch in batches if len(batch.chroma))
    (alone,) = _once_through(
        BatchMaker([_chroma_source(chroma)], settings=BatchSettings(works=(2,)), seed=7), works=9
    )
    assert len(alone.chroma) == 4
    assert all(_equal(a, b) for a, b in zip(batches, _once_through(maker, works=4), strict=True))


def _once_through(maker: BatchMaker, *, works: int) -> list[Batch]:
    return [maker.once(portion) for portion in maker.portions(works=works)]


def test_a_work_alone_in_its_view_is_shown_too(scores, chroma, patches):
    shown = [batch.labels.tolist() for batch in _once_through(_maker(scores, chroma, patches), works=1)]
    assert shown == [[work] for work in range(10)]


def test_batches_are_a_function_of_seed_and_step(scores, chroma, patches):
    first, second = (_maker(scores, chroma, patches).batch(5) for _ in range(2))
    assert _equal(first, second)
    other = _maker(scores, chroma, patches).batch(6)
    assert first.cqt.shape != other.cqt.shape or not torch.equal(first.cqt, other.cqt)


class _Make:
    """A picklable maker of batches for worker processes."""

    def __init__(self, chroma):
        self.chroma = chroma

    def __call__(self):
        settings = BatchSettings(works=(2,), versions=2, chroma_lengths=(16,))
        return BatchMaker([_chroma_source(self.chroma)], settings=settings, seed=1)


def test_worker_processes_give_the_same_batches_in_order(chroma):
    make = _Make(chroma)
    wanted = [Portion(0, 1, 3), *range(2, 7)]
    expected = [make().once(wanted[0]), *map(make().batch, range(2, 7))]
    here = list(stream(make, wanted=wanted, processes=0))
    there = list(stream(make, wanted=wanted, processes=2))
    assert len(here) == len(there) == len(expected) == 6
    assert all(_equal(a, b) and _equal(a, c) for a, b, c in zip(expected, here, there, strict=True))
    assert len({batch.labels.numpy().tobytes() + batch.chroma.numpy().tobytes() for batch in there}) == 6


class _MakeThreads(_Make):
    """A maker whose process tells what its environment says about threads."""

    def __call__(self):
        Path(self.chroma).write_text(os.environ.get("OMP_NUM_THREADS", "none"))
        raise RuntimeError("told")


def test_processes_that_make_batches_have_one_thread_each(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    with pytest.raises(RuntimeError, match="told"):
        list(stream(_MakeThreads(tmp_path / "threads"), wanted=range(2), processes=1))
    assert (tmp_path / "threads").read_text() == "1"
    assert os.environ["OMP_NUM_THREADS"] == "5"


def test_batches_that_nobody_waits_for_are_left_in_peace(chroma, capfd):
    batches = stream(_Make(chroma), wanted=range(400), processes=2)
    assert _equal(next(batches), _Make(chroma)().batch(0))
    batches.close()
    assert capfd.readouterr() == ("", "")


def test_each_view_has_a_multiple_of_crops(scores, chroma, patches):
    sources = [_source(scores, patches), _chroma_source(chroma)]
    settings = BatchSettings(works=(4, 4), versions=4, lengths=(16,), chroma_lengths=(20,))
    plain, cut = (
        BatchMaker(sources, settings=dataclasses.replace(settings, multiple=multiple), seed=7)
        for multiple in (1, 4)
    )
    for step in range(5):
        whole, found = plain.batch(step), cut.batch(step)
        sizes = [len(views) // 4 * 4 for views in whole[:2]]
        assert [len(views) for views in found[:2]] == sizes
        assert all(torch.equal(a[:n], b) for a, b, n in zip(whole[:2], found[:2], sizes, strict=True))
        kept = [*range(sizes[0]), *range(len(whole.cqt), len(whole.cqt) + sizes[1])]
        assert all(torch.equal(a[kept], b) for a, b in zip(whole[2:5], found[2:5], strict=True))
    portion = cut.portions(works=3)[0]
    assert len(cut.once(portion).labels) == 3, "all works are shown once"
