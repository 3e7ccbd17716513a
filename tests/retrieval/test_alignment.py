"""Cross-similarity on melodies that code makes: same, transposed, faster, cut, unrelated, silent."""

import numpy as np
import pytest

from mirex.errors import AudioError, MirexError
from mirex.evaluation import plots
from mirex.retrieval import alignment


def melody(rng, *, notes=40, columns_per_note=3):
    """float32 [84, columns]: a random walk of triads with two overtones each, above a little noise."""
    columns = 0.01 * rng.random((84, notes * columns_per_note))
    for note, pitch in enumerate(24 + np.clip(np.cumsum(rng.integers(-4, 5, notes)), -12, 24)):
        span = slice(note * columns_per_note, (note + 1) * columns_per_note)
        for tone, level in ((0, 1.0), (4, 0.7), (7, 0.7), (12, 0.4), (19, 0.3)):
            columns[pitch + tone, span] += level
    return columns.astype(np.float32)


def test_a_recording_matches_itself_along_the_diagonal(rng):
    song = melody(rng)
    result = alignment.cross_similarity(song, song)
    cells = song.shape[1] - result.context + 1
    np.testing.assert_array_equal(result.path, np.column_stack([np.arange(cells)] * 2))
    assert result.matching_parts() == ((0, 120), (0, 120))
    assert result.transposition == 0


@pytest.mark.parametrize("semitones", [-5, -1, 2, 6])
def test_transposition_is_found_and_undone(rng, semitones):
    song = melody(rng)
    other = np.roll(song, -semitones, axis=0)
    result = alignment.cross_similarity(song, other)
    assert result.transposition == semitones
    assert len(result.path) > 100


def test_half_tempo_is_followed(rng):
    song = melody(rng)
    slower = np.repeat(song, 2, axis=1)
    result = alignment.cross_similarity(song, slower)
    parts = result.matching_parts()
    assert parts is not None
    (a, b), (c, d) = parts
    assert b - a > 90
    assert (d - c) / (b - a) == pytest.approx(2, rel=0.2)


@pytest.mark.parametrize("ratio", [0.8, 1.0, 1.25])
def test_tempo_ratio(rng, ratio):
    song = melody(rng, notes=80)
    other = song[:, np.minimum((np.arange(round(240 / ratio)) * ratio).astype(int), 239)]
    found = alignment.match(alignment.cross_similarity(song, other), seconds_per_column=0.5)
    assert found is not None
    assert found.tempo_ratio == pytest.approx(ratio, rel=0.05)
    assert found.first_end - found.first_start == pytest.approx(120, abs=10)
    assert found.second_end - found.second_start == pytest.approx(120 / ratio, abs=10)


def test_a_match_too_short_for_a_tempo(rng):
    song = melody(rng, notes=5)
    found = alignment.match(alignment.cross_similarity(song, song), seconds_per_column=0.5)
    assert found is not None
    assert found.tempo_ratio is None
    silence = np.zeros((84, 20), np.float32)
    assert alignment.match(alignment.cross_similarity(silence, silence), seconds_per_column=0.5) is None


def test_part_of_a_recording_is_located(rng):
    song, noise = melody(rng), rng.random((84, 100)).astype(np.float32)
    mixed = np.concatenate([noise[:, :50], song[:, 30:90], noise[:, 50:]], axis=1)
    parts = alignment.cross_similarity(song, mixed).matching_parts()
    assert parts is not None
    np.testing.assert_allclose([*parts[0], *parts[1]], [30, 90, 50, 110], atol=10)


def test_unrelated_recordings_match_less(rng):
    song, other = melody(rng), melody(rng)
    assert len(alignment.cross_similarity(song, other).path) < 60


def test_gain_does_not_matter(rng):
    song, other = melody(rng), melody(rng)
    plain, loud = alignment.cross_similarity(song, other), alignment.cross_similarity(song, 1000 * other)
    np.testing.assert_allclose(loud.similarity, plain.similarity, atol=1e-5)


def test_silence_matches_nothing(rng):
    silence = np.zeros((84, 60), dtype=np.float32)
    for pair in ((silence, silence), (silence, melody(rng))):
        result = alignment.cross_similarity(*pair)
        assert result.path.shape == (0, 2)
        assert result.matching_parts() is None
        assert np.isfinite(result.similarity).all()


@pytest.mark.parametrize("columns", [1, 2, 7])
def test_very_short_recordings(rng, columns):
    result = alignment.cross_similarity(melody(rng)[:, :columns], melody(rng))
    assert result.similarity.shape[0] == 1
    assert result.context == columns


def test_no_column_at_all(rng):
    with pytest.raises(AudioError, match="without any columns"):
        alignment.cross_similarity(np.zeros((84, 0), dtype=np.float32), melody(rng))


def test_long_recordings_are_averaged_in_time(rng):
    song = melody(rng, notes=200, columns_per_note=12)
    result = alignment.cross_similarity(song, song, max_cells=500)
    assert result.columns_per_cell == 5
    assert max(result.similarity.shape) <= 500
    assert result.matching_parts() == ((0, 2400), (0, 2400))


def test_average_columns_by_hand():
    columns = np.array([[1.0, 3.0, 5.0, 7.0, 100.0]])
    assert alignment.average_columns(columns, step=2).tolist() == [[2.0, 6.0, 100.0]]


def test_similarity_against_loops(rng):
    song, other = melody(rng, notes=8), melody(rng, notes=7)
    result = alignment.cross_similarity(song, other, context=3)
    folded = np.roll(alignment.fold(other), result.transposition, axis=0)
    for i, j in ((0, 0), (5, 2), (10, 18)):
        columns = [(alignment.fold(song)[:, i + k], folded[:, j + k]) for k in range(3)]
        expected = np.mean([np.corrcoef(a, b)[0, 1] for a, b in columns])
        assert result.similarity[i, j] == pytest.approx(expected, abs=1e-5)


def path_score(path, marked):
    score, before = 0.0, False
    for cell in map(tuple, path):
        gap = alignment.GAP_OPENED if before else alignment.GAP_EXTENDED
        score, before = score + (1.0 if marked[cell] else -gap), marked[cell]
    return score


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_path_against_all_paths(rng, share):
    marked = rng.random((7, 8)) < share

    def best(row, column):
        if row < 0 or column < 0:
            return 0.0
        gains = []
        for up, left in alignment.STEPS:
            i, j = row - up, column - left
            opened = i >= 0 and j >= 0 and marked[i, j]
            gap = alignment.GAP_OPENED if opened else alignment.GAP_EXTENDED
            gains.append(best(i, j) + (1.0 if marked[row, column] else -gap))
        return max(0.0, *gains)

    expected = max(best(row, column) for row in range(7) for column in range(8))
    path, score = alignment.longest_path(marked)
    assert score == expected == path_score(path, marked)
    steps = [tuple(b - a) for a, b in zip(path, path[1:], strict=False)]
    assert set(steps) <= set(alignment.STEPS)


# Pictures


def test_picture_is_written(rng, tmp_path):
    pytest.importorskip("matplotlib")
    result = alignment.cross_similarity(melody(rng), melody(rng))
    names = ("a $tricky_name.wav", "b" * 100)
    plots.save(plots.similarity_figure(result, names=names, seconds_per_column=0.464), tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(MirexError, match="cannot be written"):
        plots.save(plots.new_figure(1, 1), tmp_path / "none" / "p.png")
    with pytest.raises(MirexError, match="cannot be written"):
        plots.save(plots.new_figure(1, 1), tmp_path / "p.xyz")


def test_svg_is_the_same_twice_and_has_no_ids_of_groups():
    pytest.importorskip("matplotlib")
    pair = [plots.svg(plots.rank_histogram_figure(np.array([1, 1, 4, 90]), references=100)) for _ in range(2)]
    assert pair[0] == pair[1]
    assert "<g id" not in pair[0]
    assert "currentColor" in pair[0]


def test_without_matplotlib_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(MirexError, match=r"pip install .*\[plots\]"):
        plots.new_figure(1, 1)


def test_rank_bins_cover_every_rank_once():
    for references in (1, 2, 3, 10, 999):
        edges = plots.rank_bins(references)
        assert edges[0] == 1
        assert edges[-1] == references + 1 or references == 1
        assert edges == sorted(set(edges))
