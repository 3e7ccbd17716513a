"""Recordings as CQT levels: both splits' scales, rounding undone, works, links, names."""

import numpy as np
import pytest

from mirex.corpora.archive import save_archive
from mirex.corpora.cqt_levels import SCALES, LevelCorpus, level_arrays, levels_of, magnitudes
from mirex.errors import TrainingError


def _columns(rng, length, *, loudest=0.1):
    """Magnitudes over some 50 dB."""
    return (loudest * 10 ** rng.uniform(-2.5, 0, (84, length))).astype(np.float32)


@pytest.fixture
def archive(rng, tmp_path):
    recordings = [_columns(rng, length) for length in (30, 20, 25, 40, 10)]
    recordings[0][:, 4] = 0.0
    splits = ["train", "validation", "train", "train", "validation"]
    names = ["A - One", "B - Two", "Ä - Drei\n", " - ", "D - "]
    songs = [(3, 7), (), (5,), (), ()]
    arrays = level_arrays(recordings, works=[9, 4, 2, 9, 4], splits=splits, names=names, songs=songs)
    save_archive(arrays, path=tmp_path / "recordings.npz")
    return tmp_path / "recordings.npz", recordings


@pytest.mark.parametrize(("split", "wanted"), [("train", [0, 2, 3]), ("validation", [1, 4])])
def test_columns_come_back_to_half_a_step_of_the_split(archive, split, wanted, rng):
    path, recordings = archive
    corpus = LevelCorpus.load(path, split=split)
    assert corpus.recordings.tolist() == wanted
    for recording in wanted:
        truth = recordings[recording]
        plain = corpus.columns(recording, generator=None)
        assert plain.dtype == np.float32
        assert plain.shape == truth.shape
        sounding = truth > 0
        assert (plain[~sounding] == 0).all()
        error = 20 * np.log10(plain[sounding] / truth[sounding])
        assert np.abs(error).max() <= SCALES[split].step / 2 + 1e-3
        assert np.abs(error).max() > SCALES[split].step / 3, "levels are steps of this split's size"
        drawn = corpus.columns(recording, generator=rng)
        assert np.abs(20 * np.log10(drawn[sounding] / plain[sounding])).max() <= SCALES[split].step / 2 + 1e-3


def test_the_two_scales_are_those_of_the_format():
    assert SCALES["train"] == (1.5, 60.0)
    assert SCALES["validation"] == (0.5, 100.0)
    top = np.array([[40, 120, 0]], np.uint8)
    found = magnitudes(top[:, :1], top=-6.0, scale=SCALES["train"], generator=None)
    assert 20 * np.log10(found[0, 0]) == pytest.approx(-6.0, abs=1e-4)
    found = magnitudes(top, top=-6.0, scale=SCALES["validation"], generator=None)
    assert 20 * np.log10(found[0, 1]) == pytest.approx(120 * 0.5 - 100 - 6, abs=1e-4)
    assert found[0, 2] == 0.0


def test_what_rounding_took_is_put_back_evenly_and_anew_each_time():
    levels = np.full((84, 500), 30, np.uint8)
    scale = SCALES["train"]
    first, second, again = (
        magnitudes(levels, top=0.0, scale=scale, generator=np.random.default_rng(seed)) for seed in (1, 2, 1)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, second)
    offsets = (20 * np.log10(first) - (30 * 1.5 - 60)) / 1.5
    shares = np.histogram(offsets, bins=10, range=(-0.5, 0.5))[0] / offsets.size
    assert shares == pytest.approx([0.1] * 10, abs=0.01)
    assert len(np.unique(first)) > 0.9 * first.size, "no ties are left"


def test_a_stretch_is_part_of_the_whole_and_lies_in_the_recording(archive):
    path, _ = archive
    corpus = LevelCorpus.load(path)
    whole = corpus.columns(3, generator=None)
    assert corpus.length(3) == 40
    assert np.array_equal(corpus.columns(3, first=5, last=12, generator=None), whole[:, 5:12])
    for first, last in ((-1, 4), (0, 41), (9, 8)):
        with pytest.raises(IndexError, match="which has 40"):
            corpus.columns(3, first=first, last=last, generator=None)


def test_works_links_names_and_tops(archive):
    path, recordings = archive
    corpus = LevelCorpus.load(path)
    assert [work.tolist() for work in corpus.works] == [[2], [0, 3]]
    assert [corpus.work(each) for each in (0, 2, 3)] == [9, 2, 9]
    assert [corpus.songs(each).tolist() for each in (0, 1, 2)] == [[3, 7], [], [5]]
    assert corpus.names == ["A - One", "B - Two", "Ä - Drei", " - ", "D - "]
    loudest = 20 * np.log10(recordings[2].max(axis=0))
    assert corpus.top(2) == pytest.approx(np.percentile(loudest, 99), abs=1e-4)


def test_silence_stays_silence_and_loud_peaks_are_kept():
    columns = np.zeros((84, 8), np.float32)
    levels, top = levels_of(columns, scale=SCALES["train"])
    assert not levels.any()
    columns[40] = [0.1] * 7 + [0.5]
    levels, top = levels_of(columns, scale=SCALES["train"])
    assert levels[40, 7] > levels[40, 0] > 0
    back = magnitudes(levels, top=top, scale=SCALES["train"], generator=None)
    assert np.allclose(back[40], columns[40], rtol=0.1)


def test_another_file_or_arrays_that_do_not_fit_are_named(archive, tmp_path):
    path, _ = archive
    with np.load(path) as found:
        arrays = dict(found)
    broken = tmp_path / "broken.npz"
    for change in (
        {"level": arrays["level"][:, :80]},
        {"recording_offset": arrays["recording_offset"][:-1]},
        {"recording_offset": arrays["recording_offset"] // 2},
        {"recording_name": arrays["recording_name"][:5]},
    ):
        save_archive(arrays | change, path=broken)
        with pytest.raises(TrainingError, match=r"broken.npz: not an archive of recordings as CQT levels"):
            LevelCorpus.load(broken)
    (tmp_path / "text.npz").write_text("text")
    with pytest.raises(TrainingError, match="none/recordings.npz: cannot be written"):
        save_archive(arrays, path=tmp_path / "none" / "recordings.npz")
    with pytest.raises(TrainingError, match="text.npz"):
        LevelCorpus.load(tmp_path / "text.npz")
